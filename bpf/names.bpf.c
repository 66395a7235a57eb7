// SPDX-License-Identifier: GPL-2.0-only
/*
 * names: what comes with a name, for all classes.
 *
 * Network namespaces as they are made: the number of one that is gone is given to
 * the next at once, so a name that was learnt for the number has to be forgotten by
 * then; and one that lives for a moment only has to be looked up while it does.
 *
 * Kernel modules as they are loaded, with functions to attach to.
 */
#include "emit.h"

DESCRIBE(netns_birth_record);
DESCRIBE(module_load_record);

static __always_inline int born(struct net *net)
{
	struct netns_birth_record *r = record_begin(netns_birth_record, RECORD_NETNS_BIRTH);

	if (!r)
		return 0;
	read_netns(&r->netns, net);
	read_thread(&r->thread, (struct task_struct *)bpf_get_current_task());
	record_end(r);
	return 0;
}

/*
 * It has its number and its cookie by now. That nothing became of it, which is what the
 * function's last value would say, matters to nobody: the number was not another's then.
 */
SEC("fexit/setup_net")
int BPF_PROG(setup_fexit, struct net *net)
{
	return born(net);
}

static __always_inline int copied(struct net *net)
{
	return !net || (__u64)net >= (__u64)-MAX_ERRNO ? 0 : born(net);
}

/*
 * Where the compiler has left no setup_net(). Each setns(2) comes here too: without
 * CLONE_NEWNET it gives back the one that the caller has.
 */
SEC("fexit/copy_net_ns")
int BPF_PROG(birth_fexit, __u64 flags, void *user_ns, void *old, struct net *net)
{
	return flags & CLONE_NEWNET ? copied(net) : 0;
}

/* A kretprobe does not see the flags. */
SEC("kretprobe/copy_net_ns")
int BPF_KRETPROBE(birth_kretprobe, struct net *net)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	return net == BPF_CORE_READ(task, nsproxy, net_ns) ? 0 : copied(net);
}

/* Runs before the module's init; a function of it can be attached to from now on. */
static __always_inline int module_loading(struct module *mod)
{
	struct module_load_record *r = record_begin(module_load_record, RECORD_MODULE_LOAD);

	if (!r)
		return 0;
	BPF_CORE_READ_INTO(&r->name, mod, name);
	record_end(r);
	return 0;
}

SEC("tp_btf/module_load")
int BPF_PROG(module_tp_btf, struct module *mod)
{
	return module_loading(mod);
}

SEC("raw_tp/module_load")
int BPF_PROG(module_raw_tp, struct module *mod)
{
	return module_loading(mod);
}
