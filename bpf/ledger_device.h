/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A device's ledger, and how a hit finds it by the device's per-CPU counter, or by the
 * device where that is at hand.
 *
 * The ledgers are the entries of an array, and a hash map says which is whose. Its
 * lookup takes 110 instructions, as much as all else that is always done for a hit: so
 * before it comes another array, which remembers for the hash of an address where its
 * ledger was found last. What it says is believed only if the ledger has that address.
 */
#ifndef NETNS_TRACE_LEDGER_DEVICE_H
#define NETNS_TRACE_LEDGER_DEVICE_H

#include "ledger_site.h"

#define MAX_LEDGERS 2048 /* devices; user space makes it more where there are many */
#define FRONT_BITS 13

struct ledger {
	__u64 counter; /* net_device.pcpu_refcnt; 0: nobody's, or about to be somebody's */
	__u64 generation; /* when it was begun, in ns */
	__u64 dev; /* 0: not known, or nobody's */
	__s64 before;
	__s64 balance;
	__u32 settled;
	__u32 pad;
	__u64 hits[MAX_SITES]; /* user space makes the map's values shorter: see site_room */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_LEDGERS);
	__type(key, __u32);
	__uint(value_size, sizeof(struct ledger));
} ref_ledgers SEC(".maps");

/* What a ledger is made from: a BPF program's stack has no room for one. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__uint(value_size, sizeof(struct ledger));
} ref_blank SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_LEDGERS);
	__type(key, __u64); /* counter */
	__type(value, __u32); /* index of its ledger */
} ref_places SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << FRONT_BITS);
	__type(key, __u32);
	__type(value, __u32); /* index of the ledger that was found last */
} ref_front SEC(".maps");

/*
 * Indexes of ledgers that are nobody's; user space puts all in at the start. First in,
 * first out: a hit that is still under way when its device is freed must not be counted
 * for the next device.
 */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, MAX_LEDGERS);
	__type(value, __u32);
} ref_free SEC(".maps");

static __always_inline __u64 counter_of(__u64 dev)
{
	int *counter = NULL;

	/* Not by BPF_CORE_READ: this may be no device, and then the read may fail. */
	if (bpf_core_field_exists(struct net_device, pcpu_refcnt))
		bpf_probe_read_kernel(&counter, sizeof(counter),
				      (void *)dev + bpf_core_field_offset(struct net_device, pcpu_refcnt));
	return (__u64)counter;
}

static __always_inline __u32 *front_of(__u64 address)
{
	__u32 slot = (address * SLOT_FACTOR) >> (64 - FRONT_BITS);

	return bpf_map_lookup_elem(&ref_front, &slot);
}

/* By the hash map; and where it is to be found next time. */
static __always_inline struct ledger *look_up(__u64 counter, __u32 *front)
{
	__u32 *place = bpf_map_lookup_elem(&ref_places, &counter);

	if (!place)
		return NULL;
	*front = *place;
	return bpf_map_lookup_elem(&ref_ledgers, place);
}

static __always_inline struct ledger *ledger_of(__u64 counter)
{
	__u32 *front = front_of(counter);
	struct ledger *l;

	if (!front || !counter)
		return NULL;
	l = bpf_map_lookup_elem(&ref_ledgers, front);
	return l && l->counter == counter ? l : look_up(counter, front);
}

/* By the device itself: then its counter, which takes a helper to read, is not needed. */
static __always_inline struct ledger *ledger_of_device(__u64 dev, __u64 *counter)
{
	__u32 *front = front_of(dev);
	struct ledger *l;

	if (!front || !dev)
		return NULL;
	l = bpf_map_lookup_elem(&ref_ledgers, front);
	if (l && l->dev == dev)
		return l;
	*counter = counter_of(dev);
	return look_up(*counter, front);
}

/* The ledger of a device that has none yet, or that another CPU has begun meanwhile. */
static __always_inline struct ledger *begin(__u64 counter, __u64 dev)
{
	__u32 zero = 0, place, *front;
	void *blank = bpf_map_lookup_elem(&ref_blank, &zero);
	struct ledger *l;

	if (!blank || !counter)
		return NULL;
	if (bpf_map_pop_elem(&ref_free, &place)) {
		count_loss(LOSS_DEVICES_FULL);
		return NULL;
	}
	bpf_map_update_elem(&ref_ledgers, &place, blank, BPF_ANY);
	l = bpf_map_lookup_elem(&ref_ledgers, &place);
	if (!l)
		return NULL;
	l->generation = bpf_ktime_get_ns();
	l->dev = dev;
	if (bpf_map_update_elem(&ref_places, &counter, &place, BPF_NOEXIST)) {
		bpf_map_push_elem(&ref_free, &place, BPF_ANY);
		l = ledger_of(counter);
		if (!l)
			count_loss(LOSS_DEVICES_FULL);
		return l;
	}
	l->counter = counter;
	/* Also so that a ledger of an earlier device there, whose end was missed, is not found. */
	front = front_of(dev);
	if (front)
		*front = place;
	return l;
}

/* The device of this counter is no more. */
static __always_inline void end(__u64 counter)
{
	__u32 *found = bpf_map_lookup_elem(&ref_places, &counter), place;
	struct ledger *l;

	if (!found)
		return;
	place = *found;
	l = bpf_map_lookup_elem(&ref_ledgers, &place);
	if (l) {
		l->counter = 0;
		l->dev = 0;
	}
	if (!bpf_map_delete_elem(&ref_places, &counter)) /* else another CPU did it */
		bpf_map_push_elem(&ref_free, &place, BPF_ANY);
}

#endif
