/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Entries that dst_alloc() could not allocate: counted for each dst_ops and
 * namespace, and some of them recorded with what led to them.
 */
#ifndef NETNS_TRACE_DST_FAILURE_H
#define NETNS_TRACE_DST_FAILURE_H

#include "dst_counter.h"

#define MAX_FAILURES 2048
#define SECOND 1000000000ULL
#define FAILURES_A_SECOND 16

DESCRIBE(dst_failure_record);

/* 1: dst_ops.gc returns whether it refuses (before af6d10345ca7). */
const volatile __u32 gc_may_refuse;

struct failure_key {
	__u64 ops;
	__u64 net;
	__u64 birth;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_FAILURES);
	__type(key, struct failure_key);
	__type(value, struct dst_failure);
} failures SEC(".maps");

__u64 failure_window; /* the second that failure_records is of */
__u64 failure_records;

/* The first of each dst_ops is recorded, and of all the others so many a second. */
static __always_inline bool may_record(__u64 count)
{
	__u64 second = bpf_ktime_get_ns() / SECOND;

	if (failure_window != second) {
		failure_window = second;
		failure_records = 0;
	}
	__sync_fetch_and_add(&failure_records, 1);
	return count == 1 || failure_records <= FAILURES_A_SECOND;
}

/*
 * What ip6_dst_gc() compares entries with before it refuses: not gc_thresh, above which
 * it is asked. Of the collectors of others nothing is known.
 */
static __always_inline void read_limit(struct dst_failure *f, __u64 ops)
{
	struct net *net = NULL;

	f->limit = 0;
	f->limit_known = 0;
	if (f->kind != DST_OPS_IPV6 || !bpf_core_field_exists(net->ipv6.sysctl.ip6_rt_max_size))
		return;
	net = (void *)(ops - bpf_core_field_offset(struct net, ipv6.ip6_dst_ops));
	f->limit = BPF_CORE_READ(net, ipv6.sysctl.ip6_rt_max_size);
	f->limit_known = 1;
}

static __noinline struct dst_failure *failure_of(__u64 ops, __u64 dev)
{
	struct failure_key key = { .ops = ops };
	struct dst_failure *f, fresh = {};
	struct owner owner;

	find_owner(&owner, ops);
	key.net = owner.net;
	if (!key.net && dev)
		key.net = (__u64)BPF_CORE_READ((struct net_device *)dev, nd_net.net);
	if (key.net)
		key.birth = birth_of(key.net);
	f = bpf_map_lookup_elem(&failures, &key);
	if (f)
		return f;
	fresh.ops = ops;
	fresh.kind = owner.kind;
	fresh.family = BPF_CORE_READ((struct dst_ops *)ops, family);
	if (key.net)
		read_netns(&fresh.netns, (struct net *)key.net);
	bpf_map_update_elem(&failures, &key, &fresh, BPF_NOEXIST);
	f = bpf_map_lookup_elem(&failures, &key);
	if (!f)
		count_loss(LOSS_FAILURES_FULL);
	return f;
}

static __always_inline int failed(void *ctx, __u64 ops, __u64 dev, __u64 flags)
{
	struct dst_ops *o = (struct dst_ops *)ops;
	struct dst_failure_record *r;
	struct dst_failure *f = failure_of(ops, dev);
	__u64 count;

	if (!f)
		return 0;
	/* Two at once may read the same: 5.10 has no atomic addition that tells the sum. */
	__sync_fetch_and_add(&f->count, 1);
	count = f->count;
	if (!may_record(count))
		return 0;
	f->counted = read_entries(o, &f->entries);
	f->gc_thresh = 0;
	f->may_refuse = 0;
	if (BPF_CORE_READ(o, gc)) {
		f->gc_thresh = BPF_CORE_READ(o, gc_thresh);
		f->may_refuse = gc_may_refuse && !(flags & DST_NOCOUNT);
	}
	read_limit(f, ops);
	f->ifindex = 0;
	if (dev) {
		f->ifindex = BPF_CORE_READ((struct net_device *)dev, ifindex);
		bpf_probe_read_kernel(&f->name, sizeof(f->name), &((struct net_device *)dev)->name);
	}
	r = record_begin(dst_failure_record, RECORD_DST_FAILURE);
	if (!r)
		return 0;
	r->failure = *f;
	r->failure.count = count;
	read_thread(&r->thread, (struct task_struct *)bpf_get_current_task());
	take_stacks(ctx, &r->stacks);
	record_end(r);
	return 0;
}

#endif
