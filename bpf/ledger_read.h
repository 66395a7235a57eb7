/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How user space reads call traces and makes room for new ones. Not by system calls on the
 * table: while one works on a table the kernel runs no program of a kprobe on that CPU
 * (bpf_disable_instrumentation()), for a whole table as long as it is not through with it,
 * and an interrupt that takes or drops a reference meanwhile is missed: ten of a million,
 * with 1,000 veth pairs on 7.3. An iterator's program stands in nobody's way.
 */
#ifndef NETNS_TRACE_LEDGER_READ_H
#define NETNS_TRACE_LEDGER_READ_H

#include "ledger_trace.h"

#define MAX_DEAD 4096 /* what is more is dropped in a further round */

/* Call traces to be dropped, written by user space through a mapping of its memory. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MAX_DEAD);
	__type(key, __u32);
	__type(value, struct trace_key); /* generation 0: none */
} ref_dead SEC(".maps");

SEC("iter/bpf_map_elem")
int traces_iter(struct bpf_iter__bpf_map_elem *ctx)
{
	struct trace_key *key = ctx->key;
	struct trace *t = ctx->value;

	if (!key || !t)
		return 0;
	bpf_seq_write(ctx->meta->seq, key, sizeof(*key));
	bpf_seq_write(ctx->meta->seq, t, sizeof(*t));
	return 0;
}

SEC("iter/bpf_map_elem")
int dead_iter(struct bpf_iter__bpf_map_elem *ctx)
{
	struct trace_key *dead = ctx->value, key;

	if (!dead || !dead->generation)
		return 0;
	key = *dead;
	dead->generation = 0;
	bpf_map_delete_elem(&ref_traces, &key);
	return 0;
}

#endif
