/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The table of holders: objects that hold a reference on a net_device, kept from
 * when they are made until they are freed, with who made them.
 *
 * Which device an object holds is not kept but read from the object when it is
 * asked for: a route that was moved to blackhole_netdev, or a packet socket that
 * let go of its device, is then seen to hold it no longer, and no function that
 * moves a reference has to be probed.
 */
#ifndef NETNS_TRACE_REFS_HOLDERS_H
#define NETNS_TRACE_REFS_HOLDERS_H

#include "sampling.h"
#include "stack_budget.h"

DESCRIBE(holder_record);

#define MAX_HOLDERS 65536 /* user space sets what the user asked for */

struct holder_key {
	__u64 object;
	__u64 of; /* adjacency: the device that is held; else 0 */
};

struct holder {
	__u64 since; /* with the object's address it names one generation of it */
	__u64 owner; /* adjacency: the device on whose list it is */
	struct thread_id maker;
	__u32 family;
	__s32 stack;
	__u32 count; /* adjacency: how often it was inserted */
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_HOLDERS);
	__type(key, struct holder_key);
	__type(value, struct holder);
} holders SEC(".maps");

static __always_inline int keep(__u32 family, __u64 object, __u64 of, __u64 owner, __u64 now, __s32 stack)
{
	struct holder_key key = { .object = object, .of = of };
	struct holder h; /* all of it is set below: zeroing it first is not free */

	h.since = now;
	h.owner = owner;
	h.family = family;
	h.stack = stack;
	h.count = 1;
	h.pad = 0;
	read_current(&h.maker);
	if (bpf_map_update_elem(&holders, &key, &h, BPF_ANY))
		count_loss(LOSS_HOLDERS_FULL);
	return 0;
}

static __always_inline int forget(__u64 object, __u64 of)
{
	struct holder_key key = { .object = object, .of = of };

	if (may_be_followed(object, of))
		bpf_map_delete_elem(&holders, &key);
	return 0;
}

/*
 * An object was made, or an address used again: what was known of it then is of an
 * object that is gone. An error pointer is none.
 */
static __always_inline int made(void *ctx, __u32 family, __u64 object, __u64 of, __u64 owner)
{
	__u64 now;

	if (!object || object >= (__u64)-MAX_ERRNO)
		return 0;
	if (!to_be_followed(object, of))
		return forget(object, of);
	now = bpf_ktime_get_ns();
	return keep(family, object, of, owner, now, stack_within_budget(ctx, now, NULL));
}

static __always_inline int gone(__u64 object)
{
	return forget(object, 0);
}

/* A second insert of the same neighbour takes no reference, only counts. */
static __always_inline int adjacent_made(void *ctx, struct net_device *dev,
					 struct net_device *adj_dev, void *list, int error)
{
	struct holder_key key = { .object = (__u64)list, .of = (__u64)adj_dev };
	struct holder *h;

	if (error || !may_be_followed(key.object, key.of))
		return 0;
	h = bpf_map_lookup_elem(&holders, &key);
	if (h) {
		h->count++; /* under the rtnl lock, as all of this */
		return 0;
	}
	return made(ctx, HOLDER_ADJACENCY, key.object, key.of, (__u64)dev);
}

static __always_inline int adjacent_gone(struct net_device *adj_dev, __u16 times, void *list)
{
	struct holder_key key = { .object = (__u64)list, .of = (__u64)adj_dev };
	struct holder *h;

	if (!may_be_followed(key.object, key.of))
		return 0;
	h = bpf_map_lookup_elem(&holders, &key);
	if (!h)
		return 0;
	if (h->count > times)
		h->count -= times;
	else
		bpf_map_delete_elem(&holders, &key);
	return 0;
}

#define MAX_QUEUES 64

/* Not inlined, so that it is verified once and not in each turn of the loop. */
__noinline int queue_made(__u32 family, __u64 object, __u64 now, __s32 stack)
{
	if (!to_be_followed(object, 0))
		return forget(object, 0);
	return keep(family, object, 0, 0, now, stack);
}

/* Whether there is a queue that is worth a stack. */
__noinline int some_followed(__u64 first, __u64 size, int n)
{
	for (int i = 0; i < MAX_QUEUES && i < n; i++)
		if (to_be_followed(first + i * size, 0))
			return 1;
	return 0;
}

static __always_inline int queues_made(void *ctx, __u32 family, __u64 first, __u64 size, int old,
				       int new)
{
	__s32 stack = NO_STACK; /* the same for all of them */
	__u64 now;

	if (old >= new)
		return 0;
	now = bpf_ktime_get_ns();
	if (some_followed(first + old * size, size, new - old))
		stack = stack_within_budget(ctx, now, NULL);
	for (int i = 0; i < MAX_QUEUES && old + i < new; i++)
		queue_made(family, first + (old + i) * size, now, stack);
	if (old + MAX_QUEUES < new)
		count_loss(LOSS_HOLDERS_FULL);
	return 0;
}

/* Probed: the verifier forbids arithmetic with a pointer that has a type. */
static __always_inline int rx_queues_made(void *ctx, struct net_device *dev, int old, int new)
{
	__u64 first = (__u64)BPF_CORE_READ(dev, _rx);

	return queues_made(ctx, HOLDER_RX_QUEUE,
			   first + bpf_core_field_offset(struct netdev_rx_queue, kobj),
			   bpf_core_type_size(struct netdev_rx_queue), old, new);
}

static __always_inline int tx_queues_made(void *ctx, struct net_device *dev, int old, int new)
{
	__u64 first = (__u64)BPF_CORE_READ(dev, _tx);

	return queues_made(ctx, HOLDER_TX_QUEUE,
			   first + bpf_core_field_offset(struct netdev_queue, kobj),
			   bpf_core_type_size(struct netdev_queue), old, new);
}

static __always_inline bool link_event_pending(bool in_place, struct net_device *dev)
{
	return READ(in_place, dev, state) &
	       (1UL << bpf_core_enum_value(enum netdev_state_t, __LINK_STATE_LINKWATCH_PENDING));
}

#define from_kobject(type, object) \
	((struct type *)((object)-bpf_core_field_offset(struct type, kobj)))

/* The device that an object holds now; NULL when it holds none. */
static __always_inline struct net_device *held_device(__u32 family, __u64 object, __u64 of)
{
	switch (family) {
	case HOLDER_DST:
		return BPF_CORE_READ((struct dst_entry *)object, dev);
	case HOLDER_NEIGHBOUR:
		return BPF_CORE_READ((struct neighbour *)object, dev);
	case HOLDER_NEIGH_PARMS:
		return BPF_CORE_READ((struct neigh_parms *)object, dev);
	case HOLDER_IN_DEV:
		return BPF_CORE_READ((struct in_device *)object, dev);
	case HOLDER_INET6_DEV:
		return BPF_CORE_READ((struct inet6_dev *)object, dev);
	case HOLDER_NEXTHOP:
		return BPF_CORE_READ((struct fib_nh_common *)object, nhc_dev);
	case HOLDER_PACKET:
		return BPF_CORE_READ((struct packet_sock *)object, prot_hook.dev);
	case HOLDER_QDISC:
		return BPF_CORE_READ((struct Qdisc *)object, dev_queue, dev);
	case HOLDER_RX_QUEUE:
		return BPF_CORE_READ(from_kobject(netdev_rx_queue, object), dev);
	case HOLDER_TX_QUEUE:
		return BPF_CORE_READ(from_kobject(netdev_queue, object), dev);
	case HOLDER_ADJACENCY:
		return (struct net_device *)of;
	case HOLDER_LINKWATCH:
		return link_event_pending(PROBED, (void *)object) ? (void *)object : NULL;
	}
	return NULL;
}

static __always_inline void describe_neighbour(struct holder_record *r, struct neighbour *n)
{
	struct neigh_table *tbl = BPF_CORE_READ(n, tbl);
	void *key = (void *)n + bpf_core_field_offset(struct neighbour, primary_key);
	long error = 0;

	r->object_refs = BPF_CORE_READ(n, refcnt.refs.counter);
	r->object_refs_known = 1;
	r->address_family = BPF_CORE_READ(tbl, family);
	if (r->address_family == AF_INET)
		error = bpf_probe_read_kernel(r->address, 4, key);
	else if (r->address_family == AF_INET6)
		error = bpf_probe_read_kernel(r->address, 16, key);
	if (error)
		count_loss(LOSS_READ);
}

static __always_inline void describe_dst(struct holder_record *r, struct dst_entry *dst)
{
	struct dst_entry___rcuref *newer = (void *)dst;

	r->address_family = BPF_CORE_READ(dst, ops, family);
	r->object_refs_known = 1;
	if (bpf_core_field_exists(newer->__rcuref)) {
		__u32 n = BPF_CORE_READ(newer, __rcuref.refcnt.counter);

		/* From RCUREF_RELEASED on it has none, and waits for its grace period. */
		r->object_refs = n >= RCUREF_RELEASED ? 0 : n + 1;
	} else
		r->object_refs = BPF_CORE_READ(dst, __refcnt.counter);
}

static __always_inline void describe_holder(struct holder_record *r, struct holder *h)
{
	void *object = (void *)r->object;
	struct fib_nh_common *nh = object;
	struct Qdisc *q = object;
	struct net_device *owner = (void *)h->owner;

	switch (r->family) {
	case HOLDER_DST:
		describe_dst(r, object);
		break;
	case HOLDER_NEIGHBOUR:
		describe_neighbour(r, object);
		break;
	case HOLDER_NEIGH_PARMS:
		r->address_family = BPF_CORE_READ((struct neigh_parms *)object, tbl, family);
		break;
	case HOLDER_IN_DEV:
		r->object_refs = BPF_CORE_READ((struct in_device *)object, refcnt.refs.counter);
		r->object_refs_known = 1;
		break;
	case HOLDER_INET6_DEV:
		r->object_refs = BPF_CORE_READ((struct inet6_dev *)object, refcnt.refs.counter);
		r->object_refs_known = 1;
		break;
	case HOLDER_NEXTHOP:
		r->address_family = BPF_CORE_READ(nh, nhc_gw_family);
		if (bpf_probe_read_kernel(r->address, sizeof(r->address),
					  object + bpf_core_field_offset(nh->nhc_gw)))
			count_loss(LOSS_READ);
		break;
	case HOLDER_QDISC:
		r->handle = BPF_CORE_READ(q, handle);
		r->object_refs = BPF_CORE_READ(q, refcnt.refs.counter);
		r->object_refs_known = 1;
		BPF_CORE_READ_INTO(&r->text, q, ops, id);
		break;
	case HOLDER_ADJACENCY:
		BPF_CORE_READ_INTO(&r->text, owner, name);
		break;
	}
}

/* Written to whoever reads the iterator, so that many holders cannot fill the ring. */
static __always_inline void write_holder(struct seq_file *seq, struct holder_key *key,
					 struct holder *h, struct net_device *dev)
{
	struct holder_record r = {
		.header = {
			.type = RECORD_HOLDER,
			.version = RECORD_VERSION,
			.size = sizeof(r),
			.time = bpf_ktime_get_ns(),
		},
		.dev = (__u64)dev,
		.object = key->object,
		.since = h->since,
		.thread = h->maker,
		.family = h->family,
		.stack = h->stack,
	};

	describe_holder(&r, h);
	bpf_seq_write(seq, &r, sizeof(r));
}

#endif
