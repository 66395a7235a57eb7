/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Kernel stacks by id, within a budget, where things that are many may each be the
 * one that is asked for later.
 *
 * A stack costs ten to twenty times an entry in a table: 12,000 instructions where a
 * device is made over netlink. On a quiet host everything gets one. A busy one pays
 * for one in STACK_NS on each CPU, which is what it costs in the long run, and for
 * STACKS_AT_ONCE after a rest: that is about nine containers.
 */
#ifndef NETNS_TRACE_STACK_BUDGET_H
#define NETNS_TRACE_STACK_BUDGET_H

#include "emit.h"

#ifndef MAX_STACKS
#define MAX_STACKS 8192
#endif
#define STACK_NS 250000000ULL
#define STACKS_AT_ONCE 256
#define OWN_STACK_NS 1000000000ULL
#define STACKS_OFF 0x7fffffffffffffffULL /* of budget.until: user space wants none */
#define NO_STACK (-1)

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, MAX_STACKS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, STACK_DEPTH * sizeof(__u64));
} stacks SEC(".maps");

/* The time up to which stacks are paid for. */
struct budget {
	__u64 until;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct budget);
} budgets SEC(".maps");

static __always_inline __s32 stack_id(void *ctx, void *map)
{
	long id = bpf_get_stackid(ctx, map, 0);

	if (id >= 0)
		return id;
	count_loss(LOSS_KERNEL_STACK);
	return NO_STACK;
}

/*
 * own, if there is one, is when a stack was last taken at this place: a load at one place
 * takes all of the budget, and then what happens once at another is what is asked for
 * later. So each has one of its own in OWN_STACK_NS.
 */
static __always_inline __s32 stack_within_budget(void *ctx, __u64 now, __u64 *own)
{
	__u32 zero = 0;
	struct budget *b = bpf_map_lookup_elem(&budgets, &zero);

	if (!b)
		return NO_STACK;
	if (b->until < now)
		b->until = now;
	if (b->until < now + STACKS_AT_ONCE * STACK_NS) {
		b->until += STACK_NS;
	} else if (!own || now - *own < OWN_STACK_NS || b->until == STACKS_OFF) {
		count_loss(LOSS_STACK_SKIPPED);
		return NO_STACK;
	}
	if (own)
		*own = now;
	return stack_id(ctx, &stacks);
}

#endif
