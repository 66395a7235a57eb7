/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A device's ledger, and how a hit finds it by the device's per-CPU counter.
 *
 * The ledgers are the entries of an array, and a hash map says which is whose. Its
 * lookup takes 110 instructions, as much as all else that is always done for a hit: so
 * before it comes another array, which remembers for the hash of a counter where its
 * ledger was found last. What it says is believed only if the ledger has that counter.
 */
#ifndef NETNS_TRACE_LEDGER_DEVICE_H
#define NETNS_TRACE_LEDGER_DEVICE_H

#include "ledger_site.h"

#define MAX_LEDGERS 2048 /* devices; user space makes it more where there are many */
#define FRONT_BITS 13

struct ledger {
	__u64 counter; /* net_device.pcpu_refcnt; 0: nobody's, or about to be somebody's */
	__u64 generation; /* when it was begun, in ns */
	__u64 dev; /* 0: not known */
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

static __always_inline struct ledger *ledger_of(__u64 counter)
{
	__u32 slot = (counter * SLOT_FACTOR) >> (64 - FRONT_BITS), *front, *place;
	struct ledger *l;

	front = bpf_map_lookup_elem(&ref_front, &slot);
	if (!front || !counter)
		return NULL;
	l = bpf_map_lookup_elem(&ref_ledgers, front);
	if (l && l->counter == counter)
		return l;
	place = bpf_map_lookup_elem(&ref_places, &counter);
	if (!place)
		return NULL;
	*front = *place;
	return bpf_map_lookup_elem(&ref_ledgers, place);
}

/* The ledger of a device that has none yet, or that another CPU has begun meanwhile. */
static __always_inline struct ledger *begin(__u64 counter, __u64 dev)
{
	__u32 zero = 0, place;
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
	if (l)
		l->counter = 0;
	if (!bpf_map_delete_elem(&ref_places, &counter)) /* else another CPU did it */
		bpf_map_push_elem(&ref_free, &place, BPF_ANY);
}

#endif
