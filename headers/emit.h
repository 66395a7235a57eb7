/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How every BPF program of netns-trace hands over a record and counts what it
 * could not: one ring buffer for all, so that records keep their order, and one
 * table of losses for each object, so that a verdict knows its own.
 */
#ifndef NETNS_TRACE_EMIT_H
#define NETNS_TRACE_EMIT_H

#include "kernel.h"
#include "loss.h"
#include "read.h"
#include "record.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); /* bytes; user space sets what the user asked for */
} ring SEC(".maps");

/*
 * What was lost: LOSS_ROOM numbers for each CPU. User space maps its memory and looks
 * several times a second. A system call that reads a table keeps kprobes' programs from
 * running on its CPU meanwhile (bpf_disable_instrumentation()), and where it can be
 * preempted so does whatever then runs there: 57 of a million hits were missed so on 7.3.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LOSS_ROOM); /* user space makes it as many for each CPU */
	__type(key, __u32);
	__type(value, __u64);
} losses SEC(".maps");

/*
 * Puts a record's layout into the object's BTF, where a record that is only ever
 * pointed to would not be: pkg/probe's tests decode by it.
 */
#define DESCRIBE(kind) const struct kind *kind##_layout __attribute__((unused))

/* netns-trace itself, whose own threads and sockets are nobody's bug */
const volatile __u32 self_tgid;

static __always_inline void count_loss(__u32 cause)
{
	__u32 key = bpf_get_smp_processor_id() * LOSS_ROOM + cause;
	__u64 *n = bpf_map_lookup_elem(&losses, &key);

	if (n)
		__sync_fetch_and_add(n, 1); /* an interrupt may count one too */
}

/* Room for one record in the ring, its header filled in; NULL is counted. */
#define record_begin(kind, record_type)                                              \
	({                                                                           \
		struct kind *r_ = bpf_ringbuf_reserve(&ring, sizeof(*r_), 0);        \
		if (r_) {                                                            \
			r_->header.type = (record_type);                             \
			r_->header.version = RECORD_VERSION;                         \
			r_->header.size = sizeof(*r_);                               \
			r_->header.time = bpf_ktime_get_ns();                        \
		} else {                                                             \
			count_loss(LOSS_RING_FULL);                                  \
		}                                                                    \
		r_;                                                                  \
	})

#define record_end(r) bpf_ringbuf_submit(r, 0)

static __always_inline void read_netns_by(bool in_place, struct netns_id *id, struct net *net)
{
	struct net___before_5_12 *old = (void *)net;

	id->inum = READ(in_place, net, ns.inum);
	id->pad = 0;
	if (bpf_core_field_exists(old->net_cookie.counter))
		id->cookie = BPF_CORE_READ(old, net_cookie.counter);
	else
		id->cookie = READ(in_place, net, net_cookie);
}

static __always_inline void read_netns(struct netns_id *id, struct net *net)
{
	read_netns_by(PROBED, id, net);
}

/*
 * The inode number of a namespace is reused after its death, the cookie is not.
 * One that is 0 (before 5.12, or given by the user) says nothing.
 */
static __always_inline bool same_netns(const struct netns_id *a, const struct netns_id *b)
{
	if (a->inum != b->inum)
		return false;
	return a->cookie == b->cookie || !a->cookie || !b->cookie;
}

static __always_inline void read_thread(struct thread_id *id, struct task_struct *task)
{
	id->tgid = BPF_CORE_READ(task, tgid);
	id->tid = BPF_CORE_READ(task, pid);
	id->start = BPF_CORE_READ(task, start_boottime);
	BPF_CORE_READ_INTO(&id->comm, task, comm);
}

/* The thread that runs: by one helper where the kernel tells its type, else by four. */
static __always_inline void read_current(struct thread_id *id)
{
	if (HAS_TYPED_CURRENT) {
		struct task_struct *task = bpf_get_current_task_btf();
		__u64 *from = (__u64 *)&task->comm, *to = (__u64 *)id->comm;

		id->tgid = task->tgid;
		id->tid = task->pid;
		id->start = task->start_boottime;
		to[0] = from[0];
		to[1] = from[1];
	} else {
		struct task_struct *task = (struct task_struct *)bpf_get_current_task();
		__u64 both = bpf_get_current_pid_tgid();

		id->tgid = both >> 32;
		id->tid = (__u32)both;
		id->start = BPF_CORE_READ(task, start_boottime);
		bpf_get_current_comm(id->comm, sizeof(id->comm));
	}
}

/*
 * The stack policy: a stack costs ten times a map update, so nothing that runs per
 * packet takes one. Both stacks are taken, by this function, where
 * a thread leaves its network namespace and where an allocation has failed. Where
 * objects are made and references taken, stack_budget.h takes a kernel stack, within
 * a budget.
 */
static __always_inline void take_stacks(void *ctx, struct stacks *s)
{
	s->kernel_bytes = bpf_get_stack(ctx, s->kernel, sizeof(s->kernel), 0);
	s->user_bytes = bpf_get_stack(ctx, s->user, sizeof(s->user), BPF_F_USER_STACK);
	if (s->kernel_bytes < 0)
		count_loss(LOSS_KERNEL_STACK);
	if (s->user_bytes < 0)
		count_loss(LOSS_USER_STACK);
	if (s->kernel_bytes == sizeof(s->kernel))
		count_loss(LOSS_STACK_CUT);
}

static __always_inline void no_stacks(struct stacks *s)
{
	s->kernel_bytes = 0;
	s->user_bytes = 0;
}

#endif
