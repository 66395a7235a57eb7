// SPDX-License-Identifier: GPL-2.0-only
/*
 * threads: which threads are away from their process's home network namespace
 * and who was cloned there. The maps are in threads_home.h, what the stranded do
 * in threads_calls.h, what user space is told of moves in threads_told.h; here is
 * what happens to threads. The ways in are in threads_hooks.h.
 */
#include "threads_home.h"
#include "threads_told.h"
#include "threads_calls.h"

DESCRIBE(netns_switch_record);
DESCRIBE(thread_clone_record);
DESCRIBE(thread_exit_record);
DESCRIBE(thread_seen_record);
DESCRIBE(process_record);
DESCRIBE(stranded_call_record);

/*
 * A process that moves while it has one thread may mean to stay: where it went is
 * then a second home, and only a way back to the first is the end of a window that
 * clones were left behind in.
 */
static __always_inline struct netns_id *home_for_switch(struct home *home, struct netns_id *old,
							struct netns_id *new)
{
	if (!home->moved_to.inum || same_netns(&home->netns, new))
		return &home->netns;
	if (same_netns(&home->moved_to, old) || same_netns(&home->moved_to, new))
		return &home->moved_to;
	return &home->netns;
}

/* A thread changes namespace: setns(2) or unshare(2); `to` is NULL when it exits. */
static __always_inline int switched(bool in_place, void *ctx, struct task_struct *task, struct nsproxy *to)
{
	struct netns_id old, new, belongs;
	struct net *old_net, *new_net;
	struct signal_struct *signal;
	__u32 clones = 0, threads, tgid, tid;
	struct away *was;
	bool alone, tell;
	struct home *home;

	if (!to)
		return 0;
	old_net = netns_of(in_place, task);
	new_net = READ(in_place, to, net_ns);
	tgid = READ(in_place, task, tgid);
	if (!old_net || !new_net || old_net == new_net || tgid == self_tgid)
		return 0;
	tid = READ(in_place, task, pid);
	home = home_of(in_place, task, tgid);
	if (!home)
		return 0;
	read_netns_by(in_place, &old, old_net);
	read_netns_by(in_place, &new, new_net);
	signal = READ(in_place, task, signal);
	threads = READ(in_place, signal, nr_threads);
	alone = threads == 1 && !home->named && !home_inum;
	belongs = *home_for_switch(home, &old, &new);
	/* `ip netns exec` and its kind go alone, and are gone with exec. */
	tell = !alone && moves == MOVES_TOLD;

	was = bpf_map_lookup_elem(&away, &tid);
	if (was) {
		clones = was->clones;
		tell = tell || matters(was);
		if (tell)
			was->told = 1;
	}
	if (same_netns(&home->netns, &new)) {
		if (was)
			forget_away(tgid, tid);
	} else if (was) {
		was->netns = new; /* from one strange place to another: the window goes on */
	} else if (!same_netns(&belongs, &new)) {
		struct away a = {
			.netns = new,
			.since = bpf_ktime_get_ns(),
			.tgid = tgid,
			.left_alone = alone,
			.told = tell,
		};

		note_away(tid, &a);
	}
	if (alone)
		home->moved_to = new;
	if (!tell)
		return 0;

	struct netns_switch_record *r = record_begin(netns_switch_record, RECORD_NETNS_SWITCH);

	if (!r)
		return 0;
	read_thread(&r->thread, task);
	r->home = belongs;
	r->from = old;
	r->to = new;
	r->nr_threads = threads;
	r->clones = clones;
	if (same_netns(&belongs, &new))
		no_stacks(&r->stacks);
	else
		take_stacks(ctx, &r->stacks);
	record_end(r);
	return 0;
}

static __always_inline void announce(struct task_struct *leader, __u32 type, struct home *home)
{
	struct process_record *r = record_begin(process_record, type);

	if (!r)
		return;
	read_thread(&r->leader, leader);
	r->netns = home->netns;
	r->nr_threads = BPF_CORE_READ(leader, signal, nr_threads);
	r->named = home->named;
	record_end(r);
}

/*
 * A process was forked: named if its parent is and the user asked for children, or
 * by the name that it has from its parent.
 */
static __always_inline void forked(struct task_struct *child)
{
	bool named = same_comm(child);
	struct home *h;

	if (!named && follow) {
		__u32 parent = bpf_get_current_pid_tgid() >> 32;

		if (!*tally_of(home_tally, parent))
			return;
		h = bpf_map_lookup_elem(&homes, &parent);
		named = h && h->named;
	}
	if (!named)
		return;
	h = set_home(PROBED, BPF_CORE_READ(child, tgid), netns_of(PROBED, child), true);
	if (h)
		announce(child, RECORD_PROCESS_SEEN, h);
}

/* Runs in the parent; the child has its namespace but has not run yet. */
static __always_inline int cloned(bool in_place, void *ctx, struct task_struct *child, __u64 flags)
{
	struct task_struct *leader, *parent_task;
	__u32 parent, tgid, tid;
	struct netns_id here;
	struct home *home;
	struct away *p;
	struct net *net;

	if (!(flags & CLONE_THREAD)) {
		forked(child);
		return 0;
	}
	leader = READ(in_place, child, group_leader);
	tgid = READ(in_place, child, tgid);
	if (READ(in_place, child, nsproxy) == READ(in_place, leader, nsproxy) && !*tally_of(away_tally, tgid))
		return 0;

	net = netns_of(in_place, child);
	if (!net || tgid == self_tgid)
		return 0;
	parent = (__u32)bpf_get_current_pid_tgid();
	p = bpf_map_lookup_elem(&away, &parent);
	if (!p && net == netns_of(in_place, leader))
		return 0;
	/* Where moves are not seen, the leader may be away: then only a home that is known counts. */
	home = moves == MOVES_UNSEEN ? bpf_map_lookup_elem(&homes, &tgid) : home_of(in_place, child, tgid);
	if (!home || !home->netns.inum)
		return 0;
	read_netns_by(in_place, &here, net);
	if (same_netns(&home->netns, &here))
		return 0;

	struct away a = {
		.netns = here,
		.since = bpf_ktime_get_ns(),
		.tgid = tgid,
		.left_behind = 1,
		.left_alone = p ? p->left_alone : 0,
		.told = 1,
	};

	tid = BPF_CORE_READ(child, pid);
	note_away(tid, &a);

	struct thread_clone_record *r = record_begin(thread_clone_record, RECORD_THREAD_CLONE);

	if (!r)
		return 0;
	parent_task = (struct task_struct *)bpf_get_current_task();
	read_thread(&r->parent, parent_task);
	read_thread(&r->child, child);
	r->home = home->netns;
	r->away = here;
	r->left_home = 0;
	r->left_alone = 0;
	if (p) {
		__sync_fetch_and_add(&p->clones, 1);
		r->left_home = p->since;
		r->left_alone = p->left_alone;
	}
	r->nr_threads = BPF_CORE_READ(child, signal, nr_threads) - 1;
	take_stacks(ctx, &r->stacks);
	record_end(r);
	return 0;
}

static __always_inline int exited(bool in_place, struct task_struct *task)
{
	__u32 tgid = READ(in_place, task, tgid);
	__s32 *away_here = tally_of(away_tally, tgid);
	__s32 *homes_here = tally_of(home_tally, tgid);
	struct signal_struct *signal;
	struct home *home;
	struct away *a;
	__u32 tid;

	if (!(*away_here | *homes_here))
		return 0;
	tid = READ(in_place, task, pid);
	if (*away_here && (a = bpf_map_lookup_elem(&away, &tid))) {
		struct thread_exit_record *r = NULL;

		if (matters(a))
			r = record_begin(thread_exit_record, RECORD_THREAD_EXIT);
		if (r) {
			read_thread(&r->thread, task);
			r->netns = a->netns;
			r->sockets = a->sockets;
			r->connects = a->connects;
			r->failures = a->failures;
			record_end(r);
		}
		forget_away(tgid, tid);
	}
	if (!*homes_here)
		return 0;
	signal = READ(in_place, task, signal);
	if (READ(in_place, signal, live.counter))
		return 0;
	home = bpf_map_lookup_elem(&homes, &tgid);
	/*
	 * do_exit() counts the living down long before this tracepoint, so the one that
	 * sees 0 need not be the last to come here; nothing above depends on `homes`.
	 */
	if (home) {
		if (home->named)
			announce(BPF_CORE_READ(task, group_leader), RECORD_PROCESS_EXIT, home);
		forget_home(tgid);
	}
	return 0;
}

/* A new program: it lives where it is, and what its old threads did is history. */
static __always_inline int execed(bool in_place, struct task_struct *task, __u32 old_tid)
{
	__u32 tgid = READ(in_place, task, tgid);
	bool named = same_comm(task);
	struct home *home = NULL;

	if (*tally_of(home_tally, tgid))
		home = bpf_map_lookup_elem(&homes, &tgid);
	if (!home && !named)
		return 0;
	if (home) {
		struct away *a = bpf_map_lookup_elem(&away, &old_tid);

		if (home->named || (a && matters(a)))
			announce(task, RECORD_PROCESS_EXEC, home);
		named = named || home->named;
		forget_away(tgid, old_tid);
		forget_away(tgid, tgid);
		forget_home(tgid);
	}
	if (named) {
		home = set_home(in_place, tgid, netns_of(in_place, task), true);
		if (home)
			announce(task, RECORD_PROCESS_SEEN, home);
	}
	return 0;
}

/* A thread is noted as away before its move takes effect: long after that, in any case. */
#define LEAVING_NS 1000000000ULL

/* One task that lived before tracing started, or whose clone or move was missed. */
static __always_inline int seen(struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;
	__u32 tgid = task->tgid;
	__u32 tid = task->pid;
	struct away *known;
	struct netns_id here;
	struct home *home;
	struct net *net;

	if (tgid == self_tgid || task->flags & PF_KTHREAD)
		return 0;
	net = netns_of(IN_PLACE, task);
	if (!net) /* it is exiting, or a zombie whose pid is all that is left */
		return 0;
	home = bpf_map_lookup_elem(&homes, &tgid);
	if (!home && same_comm(leader))
		home = set_home(IN_PLACE, tgid, netns_of(IN_PLACE, leader) ?: net, true);
	if (home && home->named && !home->announced) {
		home = home_of(IN_PLACE, task, tgid);
		if (home) {
			home->announced = 1;
			announce(leader, RECORD_PROCESS_SEEN, home);
		}
	}
	read_netns_by(IN_PLACE, &here, net);
	known = bpf_map_lookup_elem(&away, &tid);
	if (known) { /* of it its records tell, unless that of its way home was missed */
		known->visited = bpf_ktime_get_ns();
		if (home && same_netns(&home->netns, &here) && known->visited - known->since > LEAVING_NS)
			forget_away(tgid, tid);
		return 0;
	}
	if (!home && net == netns_of(IN_PLACE, leader))
		return 0;
	home = home_of(IN_PLACE, task, tgid);
	if (!home || same_netns(&home->netns, &here))
		return 0;

	struct away a = {
		.netns = here,
		.since = bpf_ktime_get_ns(),
		.tgid = tgid,
		.left_behind = 1,
		.told = 1,
	};

	note_away(tid, &a);
	if (netns_of(IN_PLACE, task) != net) {
		/* It moved meanwhile, perhaps before our note: it is in a window, not stranded. */
		forget_away(tgid, tid);
		return 0;
	}
	struct thread_seen_record *r = record_begin(thread_seen_record, RECORD_THREAD_SEEN);

	if (!r)
		return 0;
	read_thread(&r->thread, task);
	r->home = home->netns;
	r->netns = here;
	r->nr_threads = BPF_CORE_READ(task, signal, nr_threads);
	r->pad = 0;
	if (bpf_map_lookup_elem(&away, &tid))
		record_end(r);
	else /* the switch program has taken it off meanwhile: it went home */
		bpf_ringbuf_discard(r, 0);
	return 0;
}

#include "threads_hooks.h"
