/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What user space is told of moves. By default each move of a thread that is not alone
 * in its process makes a record, with both call traces, when it is made. When a budget
 * is exceeded they are told late: a move makes no record until it matters, because
 * something was cloned there, or since the thread stays; who stays is found by looking
 * at the table once a second. Of a flood of moves nothing is left to be read. And when
 * that is not enough they are not seen at all.
 */
#ifndef NETNS_TRACE_THREADS_TOLD_H
#define NETNS_TRACE_THREADS_TOLD_H

#include "threads_home.h"

enum moves {
	MOVES_TOLD,
	MOVES_LATE,
	MOVES_UNSEEN, /* switched() is no longer called */
};

/* A section of its own: user space writes it whole. */
__u32 moves SEC(".data.moves") = MOVES_TOLD;
/* When the last scan of all threads began: who was away by then and not visited is no more. */
__u64 scanned SEC(".data.moves") = 0;

/* It has been away for as long as a thread may be that means to come back. */
static __always_inline bool stays(const struct away *a)
{
	return !a->left_alone && bpf_ktime_get_ns() - a->since >= away_ns;
}

/* User space knows of the thread, or must because of what it did. */
static __always_inline bool matters(const struct away *a)
{
	return a->told || a->left_behind || a->clones || stays(a);
}

/* One thread that is away: read by pkg/probe, from the iterator's file. */
struct away_look {
	struct netns_id home;
	struct netns_id netns;
	__u64 since;
	__u32 tgid;
	__u32 tid;
	__u32 left_behind;
	__u32 left_alone;
};

DESCRIBE(away_look);

/*
 * By an iterator and not by system calls on the table: while one of those works, the
 * kernel runs no kprobe's program on that CPU (see ledger_read.h), and a table that
 * changes fast cannot be walked by its keys.
 */
SEC("iter/bpf_map_elem")
int away_iter(struct bpf_iter__bpf_map_elem *ctx)
{
	struct away *a = ctx->value;
	__u32 *key = ctx->key, tgid;
	struct away_look look = {};
	struct home *home;

	if (!key || !a)
		return 0;
	if (a->since < scanned && a->visited < scanned) { /* its end was missed */
		__u32 tid = *key;

		forget_away(a->tgid, tid);
		return 0;
	}
	if (!a->told && !stays(a))
		return 0;
	if (moves == MOVES_UNSEEN && !a->left_behind) /* it may have come home unseen */
		return 0;
	look.netns = a->netns;
	look.since = a->since;
	look.tgid = tgid = a->tgid;
	look.tid = *key;
	look.left_behind = a->left_behind;
	look.left_alone = a->left_alone;
	home = bpf_map_lookup_elem(&homes, &tgid);
	if (home)
		look.home = home->netns;
	bpf_seq_write(ctx->meta->seq, &look, sizeof(look));
	return 0;
}

#endif
