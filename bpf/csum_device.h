/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is known of each device on which the checksum mark of a packet changed: the
 * exact counts, and what its records need.
 */
#ifndef NETNS_TRACE_CSUM_DEVICE_H
#define NETNS_TRACE_CSUM_DEVICE_H

#include "emit.h"

/* 10,000 veth pairs, each with the bug in one direction. */
#define MAX_REWRITES 10240
#define NS_PER_SECOND 1000000000ULL
#define CORRUPT_RECORDS_PER_SECOND 16

struct device_key {
	__u64 cookie;
	__u32 inum;
	__s32 ifindex;
	__u32 by; /* enum csum_by */
	__u32 direction; /* a device may have tc programs on both its hooks */
	/* hash_mix of the namespace: without a cookie, another gets its inum and ifindexes */
	__u32 birth;
	__u32 pad;
};

struct rewrites {
	struct csum_device device; /* as it was when last a record was made */
	struct csum_counts counts; /* the truth */
	__u64 recorded; /* when last a CSUM_REWRITE was made */
	__u64 corrupt_since; /* the second in which CSUM_CORRUPT are counted */
	__u64 corrupt_recorded; /* and how many were made in it */
};

/*
 * Preallocated: a tracing program must not allocate memory (5.10 warns of it, a
 * real-time kernel refuses it).
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_REWRITES);
	__type(key, struct device_key);
	__type(value, struct rewrites);
} rewrites SEC(".maps");

/*
 * Where a new value is made: whole before others can find it, and too large for the
 * stack of 512 bytes. Its counts are always 0.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rewrites);
} new_rewrites SEC(".maps");

/*
 * Before 5.12 a namespace gets its cookie when a socket first asks for it: a device
 * must not become another one by that.
 */
static __always_inline void read_netns_of(struct netns_id *id, struct net_device *dev)
{
	struct net___before_5_12 *old = NULL;

	read_netns(id, BPF_CORE_READ(dev, nd_net.net));
	if (bpf_core_field_exists(old->net_cookie.counter))
		id->cookie = 0;
}

/* Names change and devices move: what is told of them is as of now. */
static __always_inline void read_device(struct csum_device *d, struct net_device *dev, struct net_device *peer)
{
	BPF_CORE_READ_INTO(&d->name, dev, name);
	if (!peer)
		return;
	read_netns_of(&d->peer_netns, peer);
	d->peer_ifindex = BPF_CORE_READ(peer, ifindex);
	BPF_CORE_READ_INTO(&d->peer_name, peer, name);
}

/* The entry of a device, made if need be; NULL is counted. */
static __always_inline struct rewrites *rewrites_of(struct net_device *dev, struct net_device *peer,
						    __u32 by, __u32 direction)
{
	struct device_key key = { .by = by, .direction = direction };
	struct netns_id netns;
	struct rewrites *r, *fresh;
	__u32 zero = 0;

	read_netns_of(&netns, dev);
	key.cookie = netns.cookie;
	key.inum = netns.inum;
	key.ifindex = BPF_CORE_READ(dev, ifindex);
	key.birth = BPF_CORE_READ(dev, nd_net.net, hash_mix);
	r = bpf_map_lookup_elem(&rewrites, &key);
	if (r)
		return r;
	fresh = bpf_map_lookup_elem(&new_rewrites, &zero);
	if (!fresh)
		return NULL;
	__builtin_memset(&fresh->device, 0, sizeof(fresh->device));
	fresh->device.netns = netns;
	fresh->device.ifindex = key.ifindex;
	fresh->device.by = by;
	fresh->device.direction = direction;
	fresh->device.birth = key.birth;
	read_device(&fresh->device, dev, peer);
	bpf_map_update_elem(&rewrites, &key, fresh, BPF_NOEXIST);
	r = bpf_map_lookup_elem(&rewrites, &key);
	if (!r)
		count_loss(LOSS_REWRITES_FULL);
	return r;
}

/* Both records begin with the device; its count of packets is as of now. */
static __always_inline void describe(struct csum_device *d, struct rewrites *r)
{
	*d = r->device;
	d->packets = r->counts.transitions[CSUM_TRANSITION(CHECKSUM_NONE, CHECKSUM_UNNECESSARY)];
}

static __always_inline void record_rewrite(struct rewrites *r, struct net_device *dev, struct net_device *peer)
{
	__u64 now = bpf_ktime_get_ns();
	struct csum_rewrite_record *record;

	if (r->recorded && now - r->recorded < NS_PER_SECOND)
		return;
	r->recorded = now;
	read_device(&r->device, dev, peer);
	record = record_begin(csum_rewrite_record, RECORD_CSUM_REWRITE);
	if (!record)
		return;
	describe(&record->device, r);
	record->counts = r->counts;
	record_end(record);
}

/* All corrupt packets are counted, some are told of. */
static __always_inline bool corrupt_may_be_told(struct rewrites *r)
{
	__u64 now = bpf_ktime_get_ns();

	if (now - r->corrupt_since >= NS_PER_SECOND) {
		r->corrupt_since = now;
		r->corrupt_recorded = 0;
	}
	return r->corrupt_recorded++ < CORRUPT_RECORDS_PER_SECOND;
}

#endif
