/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ways in, of which pkg/probe chooses one for each thing to see. Included last:
 * they call what threads.bpf.c has.
 */
#ifndef NETNS_TRACE_THREADS_HOOKS_H
#define NETNS_TRACE_THREADS_HOOKS_H

SEC("fentry/switch_task_namespaces")
int BPF_PROG(switch_fentry, struct task_struct *task, struct nsproxy *to)
{
	return switched(IN_PLACE, ctx, task, to);
}

SEC("kprobe/switch_task_namespaces")
int BPF_KPROBE(switch_kprobe, struct task_struct *task, struct nsproxy *to)
{
	return switched(PROBED, ctx, task, to);
}

SEC("tp_btf/task_newtask")
int BPF_PROG(clone_tp_btf, struct task_struct *task, __u64 flags)
{
	return cloned(IN_PLACE, ctx, task, flags);
}

SEC("raw_tp/task_newtask")
int BPF_PROG(clone_raw_tp, struct task_struct *task, __u64 flags)
{
	return cloned(PROBED, ctx, task, flags);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exit_tp_btf, struct task_struct *task)
{
	return exited(IN_PLACE, task);
}

SEC("raw_tp/sched_process_exit")
int BPF_PROG(exit_raw_tp, struct task_struct *task)
{
	return exited(PROBED, task);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(exec_tp_btf, struct task_struct *task, int old_pid)
{
	return execed(IN_PLACE, task, old_pid);
}

SEC("raw_tp/sched_process_exec")
int BPF_PROG(exec_raw_tp, struct task_struct *task, int old_pid)
{
	return execed(PROBED, task, old_pid);
}

SEC("iter/task")
int scan_iter(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	return task ? seen(task) : 0;
}

#endif
