// SPDX-License-Identifier: GPL-2.0-only
/*
 * dstcross: spoils the counters of dst entries, and puts them right again. A
 * namespace is named by a file descriptor of the writer, such as 3 after
 * `exec 3</run/netns/red`; it is kept alive until it is undone.
 *
 * /sys/kernel/debug/dstcross/
 *	cross	write "COUNT A B": allocate COUNT IPv6 entries in namespace A,
 *		release them from the counter of B
 *	flags	write "COUNT A": allocate COUNT counted entries, set DST_NOCOUNT,
 *		release them
 *	stray	write "COUNT A": add COUNT, which may be negative, to the counter
 *	share	write "A B": let B count in the per-CPU memory of A's counter
 *	hold	write "COUNT A [nocount]": allocate COUNT entries and keep them
 *		(this is no fault)
 *	undo	write anything: all of it is undone, what is held is released
 *
 * Each write is one command. Unloading the module undoes everything.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <net/dst.h>
#include <net/dst_ops.h>
#include <net/ip6_fib.h>
#include <net/ip6_route.h>
#include <net/net_namespace.h>

#define DSTCROSS_MAX 10000

/* One change, as it is undone. */
struct dstcross_change {
	struct list_head node;
	struct net *a;
	struct net *b;
	long add_a; /* to be added to the counters */
	long add_b;
	s32 __percpu *counters; /* that were B's */
	unsigned int held;
	struct dst_entry *entries[];
};

static LIST_HEAD(dstcross_changes);
static DEFINE_MUTEX(dstcross_lock);
static struct dentry *dstcross_dir;

static struct dst_ops *dstcross_ops(struct net *net)
{
	return &net->ipv6.ip6_dst_ops;
}

static struct dst_entry *dstcross_alloc(struct net *net, int flags)
{
	struct rt6_info *rt = ip6_dst_alloc(net, net->loopback_dev, flags);

	return rt ? &rt->dst : NULL;
}

static struct dstcross_change *dstcross_begin(int fd_a, int fd_b, size_t held)
{
	struct dstcross_change *c;
	int err;

	c = kzalloc(struct_size(c, entries, held), GFP_KERNEL);
	if (!c)
		return ERR_PTR(-ENOMEM);
	c->a = get_net_ns_by_fd(fd_a);
	if (IS_ERR(c->a)) {
		err = PTR_ERR(c->a);
		kfree(c);
		return ERR_PTR(err);
	}
	if (fd_b < 0)
		return c;
	c->b = get_net_ns_by_fd(fd_b);
	if (IS_ERR(c->b)) {
		err = PTR_ERR(c->b);
		put_net(c->a);
		kfree(c);
		return ERR_PTR(err);
	}
	return c;
}

static void dstcross_undo_one(struct dstcross_change *c)
{
	unsigned int i;

	for (i = 0; i < c->held; i++)
		dst_release(c->entries[i]);
	if (c->counters)
		dstcross_ops(c->b)->pcpuc_entries.counters = c->counters;
	dst_entries_add(dstcross_ops(c->a), c->add_a);
	if (c->b) {
		dst_entries_add(dstcross_ops(c->b), c->add_b);
		put_net(c->b);
	}
	put_net(c->a);
	list_del(&c->node);
	kfree(c);
}

static void dstcross_undo(void)
{
	struct dstcross_change *c, *next;

	mutex_lock(&dstcross_lock);
	/* The last first: a counter's memory may have been lent on. */
	list_for_each_entry_safe_reverse(c, next, &dstcross_changes, node)
		dstcross_undo_one(c);
	mutex_unlock(&dstcross_lock);
}

static int dstcross_do(const char *what, const char *command)
{
	struct dstcross_change *c;
	char word[16] = "";
	int a, b = -1, err = 0;
	long n = 0, i;
	bool hold = !strcmp(what, "hold");

	if (!strcmp(what, "share")) {
		if (sscanf(command, "%d %d", &a, &b) != 2 || b < 0)
			return -EINVAL;
	} else if (!strcmp(what, "cross")) {
		if (sscanf(command, "%ld %d %d", &n, &a, &b) != 3 || n < 1 || b < 0)
			return -EINVAL;
	} else if (sscanf(command, "%ld %d %15s", &n, &a, word) < 2 || !n ||
		   (n < 0 && strcmp(what, "stray")) ||
		   (word[0] && (!hold || strcmp(word, "nocount")))) {
		return -EINVAL;
	}
	if (n > DSTCROSS_MAX || n < -DSTCROSS_MAX)
		return -EINVAL;

	mutex_lock(&dstcross_lock);
	c = dstcross_begin(a, b, hold ? n : 0);
	if (IS_ERR(c)) {
		err = PTR_ERR(c);
		goto out;
	}
	list_add_tail(&c->node, &dstcross_changes);
	if (!strcmp(what, "stray")) {
		dst_entries_add(dstcross_ops(c->a), n);
		c->add_a = -n;
		goto out;
	}
	if (!strcmp(what, "share")) {
		c->counters = dstcross_ops(c->b)->pcpuc_entries.counters;
		dstcross_ops(c->b)->pcpuc_entries.counters =
			dstcross_ops(c->a)->pcpuc_entries.counters;
		goto out;
	}
	for (i = 0; i < n; i++) {
		struct dst_entry *dst = dstcross_alloc(c->a, word[0] ? DST_NOCOUNT : 0);

		if (!dst) {
			err = -ENOMEM;
			break;
		}
		if (hold) {
			c->entries[c->held++] = dst;
			continue;
		}
		c->add_a--;
		if (c->b) {
			dst->ops = dstcross_ops(c->b);
			c->add_b++;
		} else {
			dst->flags |= DST_NOCOUNT;
		}
		dst_release(dst);
	}
out:
	mutex_unlock(&dstcross_lock);
	return err;
}

static ssize_t dstcross_write(struct file *file, const char __user *buf,
			      size_t count, loff_t *pos)
{
	const char *what = file_inode(file)->i_private;
	char command[64];
	int err = 0;

	if (count >= sizeof(command))
		return -EINVAL;
	if (copy_from_user(command, buf, count))
		return -EFAULT;
	command[count] = '\0';
	if (!strcmp(what, "undo"))
		dstcross_undo();
	else
		err = dstcross_do(what, command);
	return err ? err : count;
}

static const struct file_operations dstcross_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = dstcross_write,
	.llseek = noop_llseek,
};

static int __init dstcross_init(void)
{
	static const char *const names[] = {
		"cross", "flags", "stray", "share", "hold", "undo",
	};
	int i;

	dstcross_dir = debugfs_create_dir("dstcross", NULL);
	if (IS_ERR(dstcross_dir))
		return PTR_ERR(dstcross_dir);
	for (i = 0; i < ARRAY_SIZE(names); i++)
		debugfs_create_file(names[i], 0200, dstcross_dir,
				    (void *)names[i], &dstcross_fops);
	return 0;
}

static void __exit dstcross_exit(void)
{
	/* Waits for writers that are inside. */
	debugfs_remove(dstcross_dir);
	dstcross_undo();
}

module_init(dstcross_init);
module_exit(dstcross_exit);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("netns-trace");
MODULE_DESCRIPTION("Spoils the counters of dst entries, for tests");
