/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ledger of a dst_ops: how many entries were charged to it and credited.
 */
#ifndef NETNS_TRACE_DST_LEDGER_H
#define NETNS_TRACE_DST_LEDGER_H

#include "dst_counter.h"

#define MAX_LEDGERS 8192

struct ledger {
	struct owner owner;
	struct netns_id netns;
	__u64 charged;
	__u64 credited;
	__u64 strangers; /* of the credited, those that were not seen being charged */
	/* as the last look found it */
	__u64 charged_then;
	__u64 credited_then;
	__s64 entries_then;
	__u64 quiet; /* looks in a row that found the same */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_LEDGERS);
	__type(key, __u64); /* address of the dst_ops */
	__type(value, struct ledger);
} ledgers SEC(".maps");

/*
 * All namespaces share the dst_ops of IPv4, which most entries are of. Its counts are
 * here, since to look its ledger up takes 110 instructions; the ledger gets them when it
 * is looked at.
 */
struct {
	__u64 begun; /* it has a ledger */
	__u64 charged;
	__u64 credited;
	__u64 strangers;
} ipv4;

static __noinline struct ledger *open_ledger(__u64 ops, bool charging)
{
	struct ledger fresh = {};

	find_owner(&fresh.owner, ops);
	if (fresh.owner.net)
		read_netns(&fresh.netns, (struct net *)fresh.owner.net);
	else if (!charging)
		return NULL; /* IPv4's, whose ledger begins at its first charge; or of a namespace that is gone */
	if (bpf_map_update_elem(&ledgers, &ops, &fresh, BPF_ANY)) {
		count_loss(LOSS_LEDGERS_FULL);
		return NULL;
	}
	return bpf_map_lookup_elem(&ledgers, &ops);
}

static __always_inline struct ledger *ledger_of(__u64 ops, bool charging)
{
	struct ledger *l = bpf_map_lookup_elem(&ledgers, &ops);

	/* When a namespace has died its memory may be another's. */
	if (l && (!l->owner.net || birth_of(l->owner.net) == l->owner.birth))
		return l;
	return open_ledger(ops, charging);
}

static __always_inline bool is_ipv4(__u64 ops)
{
	return ipv4_dst_ops && ops == ipv4_dst_ops;
}

/* Counts an entry that is made, and says whose it is; false: that can be told nowhere. */
static __always_inline bool count_charged(__u64 ops, bool counted, struct owner *owner)
{
	struct ledger *l;

	if (is_ipv4(ops) && ipv4.begun) {
		owner->kind = DST_OPS_IPV4;
		if (counted)
			__sync_fetch_and_add(&ipv4.charged, 1);
		return true;
	}
	l = ledger_of(ops, true);
	if (!l)
		return false;
	*owner = l->owner;
	if (is_ipv4(ops)) {
		ipv4.begun = 1;
		if (counted)
			__sync_fetch_and_add(&ipv4.charged, 1);
	} else if (counted) {
		__sync_fetch_and_add(&l->charged, 1);
	}
	return true;
}

static __always_inline void count_credited(__u64 ops, bool stranger)
{
	struct ledger *l;

	if (is_ipv4(ops)) {
		if (ipv4.begun && stranger)
			__sync_fetch_and_add(&ipv4.strangers, 1);
		if (ipv4.begun)
			__sync_fetch_and_add(&ipv4.credited, 1);
		return;
	}
	l = ledger_of(ops, false);
	if (l && stranger)
		__sync_fetch_and_add(&l->strangers, 1);
	if (l)
		__sync_fetch_and_add(&l->credited, 1);
}

#endif
