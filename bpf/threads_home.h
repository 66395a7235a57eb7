/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where each process belongs and which threads are elsewhere.
 *
 * Two maps are the truth: `homes` (a process and its home network namespace) and
 * `away` (a thread that is in another one now). A process is in `homes` when the
 * user named it, or from the first time one of its threads moved; so a host where
 * nothing moves pays one comparison per clone and one load per exit.
 */
#ifndef NETNS_TRACE_THREADS_HOME_H
#define NETNS_TRACE_THREADS_HOME_H

#include "emit.h"

#define MAX_HOMES 16384
#define MAX_AWAY 32768
#define MAX_COMMS 8

const volatile bool watch_all;   /* every process, not only those named */
const volatile bool follow;      /* children of named processes are named too */
const volatile __u32 home_inum;  /* --home NETNS: everybody's home; 0: the leader's */
const volatile __u64 away_ns;    /* --away: how long until any thread counts as left behind */
const volatile __u32 comm_count; /* --comm */
const volatile char comms[MAX_COMMS][TASK_COMM_LEN];

struct home {
	struct netns_id netns;    /* inum 0: not seen yet */
	struct netns_id moved_to; /* where the process went while it had one thread; inum 0: nowhere */
	__u32 named;
	__u32 announced;
};

struct away {
	struct netns_id netns;
	__u64 since;
	__u32 tgid;
	__u32 left_behind; /* cloned away from home, or found there at the start */
	__u32 left_alone;  /* its process had one thread when it, or the parent it is a clone of, left */
	__u32 told;        /* user space was sent a record of it */
	__u32 clones;
	__u32 pad;
	__u64 sockets, connects, failures;
	__u64 call_recorded; /* when the last call went into the ring */
	__u64 visited;       /* when a scan last came by the thread */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_HOMES);
	__type(key, __u32);
	__type(value, struct home);
} homes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_AWAY);
	__type(key, __u32);
	__type(value, struct away);
} away SEC(".maps");

/*
 * Entries in the two maps of the processes whose number ends so: a cheap way to know
 * that there is nothing to look up. One thread that stays away, or one process that
 * has a home, must not make the clones and ends of all others dearer.
 */
#define MAX_TALLIES 1024 /* a power of two */

__s32 home_tally[MAX_TALLIES];
__s32 away_tally[MAX_TALLIES];

static __always_inline __s32 *tally_of(__s32 *tallies, __u32 tgid)
{
	return &tallies[tgid & (MAX_TALLIES - 1)];
}

/* Of all processes: for those who do not know the process yet. */
__s64 away_count;

/* 5.10 leaves bytes of an older, longer name behind the end of the new one. */
static __always_inline bool same_comm(struct task_struct *leader)
{
	char comm[TASK_COMM_LEN] = {};

	if (!comm_count)
		return false;
	BPF_CORE_READ_INTO(&comm, leader, comm);
	for (int i = 0; i < MAX_COMMS; i++) {
		bool same = i < comm_count, ended = false;

		for (int j = 0; j < TASK_COMM_LEN; j++) {
			same = same && (ended || comm[j] == comms[i][j]);
			ended = ended || !comm[j];
		}
		if (same)
			return true;
	}
	return false;
}

static __always_inline struct net *netns_of(bool in_place, struct task_struct *task)
{
	struct nsproxy *ns = READ(in_place, task, nsproxy);

	return ns ? READ(in_place, ns, net_ns) : NULL; /* NULL: the task is exiting */
}

/* Home is where the user says, or else the namespace given. */
static __always_inline void settle(bool in_place, struct home *h, struct net *net)
{
	if (home_inum)
		h->netns.inum = home_inum;
	else if (net)
		read_netns_by(in_place, &h->netns, net);
}

static __always_inline struct home *set_home(bool in_place, __u32 tgid, struct net *net, bool named)
{
	struct home h = { .named = named };

	settle(in_place, &h, net);
	if (bpf_map_update_elem(&homes, &tgid, &h, BPF_NOEXIST) == 0)
		__sync_fetch_and_add(tally_of(home_tally, tgid), 1);
	struct home *p = bpf_map_lookup_elem(&homes, &tgid);

	if (!p)
		count_loss(LOSS_HOMES_FULL);
	return p;
}

/*
 * The home of the task's process: the leader's namespace at first sight. Called
 * before a switch takes effect, so a leader that is about to move is still home.
 */
static __always_inline struct home *home_of(bool in_place, struct task_struct *task, __u32 tgid)
{
	struct home *h = bpf_map_lookup_elem(&homes, &tgid);
	struct task_struct *leader;
	struct net *net;

	if (h && h->netns.inum)
		return h;
	if (!h && !watch_all)
		return NULL;
	leader = READ(in_place, task, group_leader);
	net = netns_of(in_place, leader);
	if (!net)
		net = netns_of(in_place, task); /* the leader has exited: this thread's place must do */
	if (!net)
		return NULL;
	if (!h)
		return set_home(in_place, tgid, net, false);
	settle(in_place, h, net); /* named by the user before it was seen */
	return h;
}

static __always_inline void forget_away(__u32 tgid, __u32 tid)
{
	if (bpf_map_delete_elem(&away, &tid))
		return;
	__sync_fetch_and_add(&away_count, -1);
	__sync_fetch_and_add(tally_of(away_tally, tgid), -1);
}

static __always_inline void forget_home(__u32 tgid)
{
	if (bpf_map_delete_elem(&homes, &tgid) == 0)
		__sync_fetch_and_add(tally_of(home_tally, tgid), -1);
}

static __always_inline void note_away(__u32 tid, struct away *a)
{
	if (bpf_map_update_elem(&away, &tid, a, BPF_NOEXIST) == 0) {
		__sync_fetch_and_add(&away_count, 1);
		__sync_fetch_and_add(tally_of(away_tally, a->tgid), 1);
	} else if (!bpf_map_lookup_elem(&away, &tid)) {
		count_loss(LOSS_AWAY_FULL);
	}
}

#endif
