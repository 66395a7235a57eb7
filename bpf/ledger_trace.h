/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * By which call traces, and by whom, the references of a device were taken and
 * dropped: beside the counts, as far as it can be paid for.
 */
#ifndef NETNS_TRACE_LEDGER_TRACE_H
#define NETNS_TRACE_LEDGER_TRACE_H

#include "ledger_site.h"

#define MAX_STACKS 16384 /* two of one bucket lose the second */
#include "stack_budget.h"

#define MAX_TRACES 65536
#define MAX_CALLERS 16384
#define CALLER_DEPTH 8
#define E2BIG 7 /* of asm-generic/errno-base.h: what a hash table that is full says */

struct trace_key {
	__u64 generation;
	__u32 site;
	__s32 stack; /* of `stacks`, or for a getter of `ref_callers`; NO_STACK */
};

struct trace {
	__u64 count;
	__u64 first; /* ns */
	__u64 last;
	struct thread_id first_thread;
	struct thread_id last_thread;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_TRACES);
	__type(key, struct trace_key);
	__type(value, struct trace);
} ref_traces SEC(".maps");

/*
 * Who called a getter: needed at every hit, since the caller says what the
 * reference is for, and so not deep.
 */
struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, MAX_CALLERS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, CALLER_DEPTH * sizeof(__u64));
} ref_callers SEC(".maps");

enum {
	STATE_COMPLETE, /* 1: all sites are watched, so that all of a new device is seen */
	STATE_TRACES, /* entries of ref_traces, so that user space can make room in time */
	STATES,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE); /* as that of losses */
	__uint(max_entries, STATES);
	__type(key, __u32);
	__type(value, __u64);
} ref_state SEC(".maps");

static __always_inline bool complete(void)
{
	__u32 key = STATE_COMPLETE;
	__u64 *yes = bpf_map_lookup_elem(&ref_state, &key);

	return yes && *yes;
}

static __always_inline void count_trace(void)
{
	__u32 key = STATE_TRACES;
	__u64 *n = bpf_map_lookup_elem(&ref_state, &key);

	if (n)
		__sync_fetch_and_add(n, 1);
}

/* Whether none could be paid for at this site since the last tick, and is counted as not taken. */
static __always_inline bool too_soon(struct site *site)
{
	if (site->flags & SITE_GETTER || site->refused != bpf_jiffies64())
		return false;
	count_loss(LOSS_STACK_SKIPPED);
	return true;
}

/*
 * The call trace that tells who took the reference. Where none could be paid for, none
 * is asked for until the next tick: reading the clock takes as long as most else here.
 */
static __always_inline __s32 trace_of(void *ctx, struct site *site)
{
	__s32 stack;

	if (site->flags & SITE_GETTER)
		return stack_id(ctx, &ref_callers);
	if (too_soon(site))
		return NO_STACK;
	stack = stack_within_budget(ctx, bpf_ktime_get_ns(), &site->stacked);
	if (stack == NO_STACK)
		site->refused = bpf_jiffies64();
	return stack;
}

/*
 * before is how often the device had hit the site until then. What has no stack of its
 * own is recorded only if it is the first there: all others are in the count of hits.
 */
static __always_inline void keep_trace(void *ctx, __u64 generation, struct site *site, __u64 before)
{
	struct trace_key key = { .generation = generation, .site = site->id, .stack = trace_of(ctx, site) };
	struct trace *t;
	__u64 now;
	long err;

	if (key.stack == NO_STACK && !(site->flags & SITE_GETTER) && before)
		return;
	now = bpf_ktime_get_ns();
	t = bpf_map_lookup_elem(&ref_traces, &key);
	if (t) {
		__sync_fetch_and_add(&t->count, 1);
		t->last = now;
		read_current(&t->last_thread);
		return;
	}

	struct trace new = { .count = 1, .first = now, .last = now };

	read_current(&new.first_thread);
	new.last_thread = new.first_thread;
	err = bpf_map_update_elem(&ref_traces, &key, &new, BPF_NOEXIST);
	/*
	 * A breakpoint counts as an NMI: the lists of free entries are only tried then,
	 * and the table is called full when another CPU is at them.
	 */
	if (err == -E2BIG)
		err = bpf_map_update_elem(&ref_traces, &key, &new, BPF_NOEXIST);
	if (err == 0) {
		count_trace();
		return;
	}
	t = bpf_map_lookup_elem(&ref_traces, &key); /* another CPU was faster */
	if (t)
		__sync_fetch_and_add(&t->count, 1);
	else
		count_loss(err == -E2BIG ? LOSS_TRACES_FULL : LOSS_TRACES_BUSY);
}

#endif
