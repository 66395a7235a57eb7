// SPDX-License-Identifier: GPL-2.0-only
/*
 * dstfail: makes dst_alloc() return NULL, as it does when its slab cache has no
 * memory left: a connect(2) then fails with ENOBUFS (IPv4) or finds no route.
 *
 * /sys/kernel/debug/dstfail/
 *	fail	write "COUNT 4|6 [PID]": let the next COUNT allocations of that
 *		family fail, in process PID only if it is given
 *	left	read: how many of them are still to come
 *
 * A kprobe on dst_alloc() notes the cache that it is about to use; a kprobe on the
 * function that allocates from it goes on in one that returns NULL. */
#include <linux/atomic.h>
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <net/dst.h>
#include <net/dst_ops.h>

struct dstfail_armed {
	struct task_struct *task;
	struct kmem_cache *cache;
};

static DEFINE_PER_CPU(struct dstfail_armed, dstfail_armed);
static atomic_t dstfail_left = ATOMIC_INIT(0);
static int dstfail_family;
static int dstfail_pid;
static struct dentry *dstfail_dir;

static int dstfail_on_alloc(struct kprobe *p, struct pt_regs *regs)
{
	struct dstfail_armed *armed = this_cpu_ptr(&dstfail_armed);
	struct dst_ops *ops = (void *)regs_get_kernel_argument(regs, 0);

	armed->task = NULL;
	if (atomic_read(&dstfail_left) <= 0 || ops->family != dstfail_family)
		return 0;
	if (dstfail_pid && current->tgid != dstfail_pid)
		return 0;
	armed->cache = ops->kmem_cachep;
	armed->task = current;
	return 0;
}

static noinline void *dstfail_no_memory(void)
{
	return NULL;
}

static int dstfail_on_cache(struct kprobe *p, struct pt_regs *regs)
{
	struct dstfail_armed *armed = NULL;
	int cpu;

	if (atomic_read(&dstfail_left) <= 0)
		return 0;
	/* It may have been moved to another CPU meanwhile. */
	for_each_possible_cpu(cpu) {
		armed = per_cpu_ptr(&dstfail_armed, cpu);
		if (READ_ONCE(armed->task) == current &&
		    armed->cache == (void *)regs_get_kernel_argument(regs, 0))
			break;
		armed = NULL;
	}
	if (!armed)
		return 0;
	WRITE_ONCE(armed->task, NULL);
	if (atomic_dec_if_positive(&dstfail_left) < 0)
		return 0;
	instruction_pointer_set(regs, (unsigned long)dstfail_no_memory);
	return 1;
}

/* Only kprobes that have one may change where the function goes on. */
static void dstfail_after_cache(struct kprobe *p, struct pt_regs *regs,
				unsigned long flags)
{
}

static struct kprobe dstfail_alloc = {
	.symbol_name = "dst_alloc",
	.pre_handler = dstfail_on_alloc,
};

static struct kprobe dstfail_cache = {
/* 7bd230a26648 made kmem_cache_alloc() a macro */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
	.symbol_name = "kmem_cache_alloc_noprof",
#else
	.symbol_name = "kmem_cache_alloc",
#endif
	.pre_handler = dstfail_on_cache,
	.post_handler = dstfail_after_cache,
};

static ssize_t dstfail_write(struct file *file, const char __user *buf,
			     size_t count, loff_t *pos)
{
	char command[64];
	int number, family, pid = 0;

	if (count >= sizeof(command))
		return -EINVAL;
	if (copy_from_user(command, buf, count))
		return -EFAULT;
	command[count] = '\0';
	if (sscanf(command, "%d %d %d", &number, &family, &pid) < 2 ||
	    number < 0 || pid < 0 || (family != 4 && family != 6))
		return -EINVAL;
	atomic_set(&dstfail_left, 0);
	dstfail_family = family == 4 ? AF_INET : AF_INET6;
	dstfail_pid = pid;
	atomic_set(&dstfail_left, number);
	return count;
}

static ssize_t dstfail_read(struct file *file, char __user *buf, size_t count,
			    loff_t *pos)
{
	char text[16];
	int n = scnprintf(text, sizeof(text), "%d\n", atomic_read(&dstfail_left));

	return simple_read_from_buffer(buf, count, pos, text, n);
}

static const struct file_operations dstfail_fail_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = dstfail_write,
	.llseek = noop_llseek,
};

static const struct file_operations dstfail_left_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.read = dstfail_read,
	.llseek = noop_llseek,
};

static int __init dstfail_init(void)
{
	int err = register_kprobe(&dstfail_cache);

	if (err)
		return err;
	err = register_kprobe(&dstfail_alloc);
	if (err) {
		unregister_kprobe(&dstfail_cache);
		return err;
	}
	dstfail_dir = debugfs_create_dir("dstfail", NULL);
	debugfs_create_file("fail", 0200, dstfail_dir, NULL, &dstfail_fail_fops);
	debugfs_create_file("left", 0400, dstfail_dir, NULL, &dstfail_left_fops);
	return 0;
}

static void __exit dstfail_exit(void)
{
	debugfs_remove(dstfail_dir);
	unregister_kprobe(&dstfail_alloc);
	unregister_kprobe(&dstfail_cache);
}

module_init(dstfail_init);
module_exit(dstfail_exit);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("netns-trace");
MODULE_DESCRIPTION("Makes allocations of dst entries fail, for tests");
