// SPDX-License-Identifier: GPL-2.0-only
/*
 * refleak: takes references on network devices and forgets to give them back,
 * until it is told to. It is the shortest way to
 *
 *	unregister_netdevice: waiting for dummy0 to become free. Usage count = 2
 *
 * and, because the reference can be given back, to the end of that message.
 *
 * /sys/kernel/debug/refleak/
 *	hold	write "NAME [COUNT [a..h|*]]": take COUNT (1) references on device
 *		NAME of the writer's network namespace, in refleak_hold_a (or the
 *		one of that letter; *: in each in turn)
 *	put	write "NAME|all [COUNT]": give COUNT (every one) back; those taken
 *		in refleak_hold_a go first
 *	over	write "NAME [COUNT]": give COUNT (1) references back that were never
 *		taken, in refleak_overput. The device has to be down. To put them
 *		right counts as giving one back, and comes first
 *	list	read: one line for each device held
 *
 * Each write is one command. Unloading the module gives everything back.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <net/net_namespace.h>

#define REFLEAK_MAX_COUNT 1000000UL
#define REFLEAK_MAX_DEVICES 1024U
#define REFLEAK_SITES 8

struct refleak_held {
	struct list_head node;
	struct net_device *dev;
	/* As it was when first held: unregistration or a rename may change it. */
	char name[IFNAMSIZ];
	unsigned int netns;
	unsigned long by[REFLEAK_SITES];
	unsigned long over;
};

static LIST_HEAD(refleak_devices);
static unsigned int refleak_device_count;
static DEFINE_MUTEX(refleak_lock);
static struct dentry *refleak_dir;

/*
 * dev_hold and dev_put are inlined into their callers, so the function around
 * them is what a call trace shows. There are several holders, so that a test can
 * ask which of their traces a leak came from. They write to different fields, or
 * the compiler would fold the equal bodies into one.
 */
#define REFLEAK_HOLD(letter, site)                                           \
	static noinline __noclone void refleak_hold_##letter(struct refleak_held *held) \
	{                                                                    \
		dev_hold(held->dev);                                         \
		held->by[site]++;                                            \
	}

REFLEAK_HOLD(a, 0)
REFLEAK_HOLD(b, 1)
REFLEAK_HOLD(c, 2)
REFLEAK_HOLD(d, 3)
REFLEAK_HOLD(e, 4)
REFLEAK_HOLD(f, 5)
REFLEAK_HOLD(g, 6)
REFLEAK_HOLD(h, 7)

static void (*const refleak_holders[REFLEAK_SITES])(struct refleak_held *) = {
	refleak_hold_a, refleak_hold_b, refleak_hold_c, refleak_hold_d,
	refleak_hold_e, refleak_hold_f, refleak_hold_g, refleak_hold_h,
};

static noinline __noclone void refleak_put(struct refleak_held *held,
					   unsigned int site)
{
	held->by[site]--;
	dev_put(held->dev);
}

/* A reference of somebody else's is gone: the count is one below the truth. */
static noinline __noclone void refleak_overput(struct refleak_held *held)
{
	dev_put(held->dev);
	held->over++;
}

static noinline __noclone void refleak_put_right(struct refleak_held *held)
{
	dev_hold(held->dev);
	held->over--;
}

/* Gives one reference back. It is false when there is none. */
static bool refleak_give_one(struct refleak_held *held)
{
	unsigned int site;

	if (held->over) {
		refleak_put_right(held);
		return true;
	}
	for (site = 0; site < REFLEAK_SITES; site++) {
		if (held->by[site]) {
			refleak_put(held, site);
			return true;
		}
	}
	return false;
}

static bool refleak_has_any(const struct refleak_held *held)
{
	unsigned int site;

	for (site = 0; site < REFLEAK_SITES; site++)
		if (held->by[site])
			return true;
	return held->over;
}

static struct refleak_held *refleak_find(const struct net_device *dev)
{
	struct refleak_held *held;

	list_for_each_entry(held, &refleak_devices, node)
		if (held->dev == dev)
			return held;
	return NULL;
}

/* Gives back up to count references of held and returns how many. */
static unsigned long refleak_give_back(struct refleak_held *held,
				       unsigned long count)
{
	unsigned long given = 0;

	while (given < count && refleak_give_one(held))
		given++;
	if (!refleak_has_any(held)) {
		list_del(&held->node);
		refleak_device_count--;
		kfree(held);
	}
	return given;
}

/* What is done to a device: a letter of a holder, * for all in turn, - to over-put. */
static void refleak_do(struct refleak_held *held, unsigned long count, char how)
{
	unsigned int site = how == '*' ? 0 : how - 'a';

	for (; count; count--) {
		if (how == '-') {
			refleak_overput(held);
			continue;
		}
		refleak_holders[site](held);
		if (how == '*')
			site = (site + 1) % REFLEAK_SITES;
	}
}

static int refleak_take(const char *name, unsigned long count, char how)
{
	struct refleak_held *fresh, *held;
	struct net_device *dev;
	int err = 0;

	/* Made before the lookup: inside the RCU section nothing may sleep. */
	fresh = kzalloc(sizeof(*fresh), GFP_KERNEL);
	if (!fresh)
		return -ENOMEM;

	mutex_lock(&refleak_lock);
	rcu_read_lock();
	/* The lookup that takes no reference of its own: every one is ours. */
	dev = dev_get_by_name_rcu(current->nsproxy->net_ns, name);
	if (!dev) {
		err = -ENODEV;
		goto out;
	}
	/*
	 * A device in use has references that come and go, and a count that is too
	 * low could reach the end of its wait while one of them is still there.
	 */
	if (how == '-' && dev->flags & IFF_UP) {
		err = -EBUSY;
		goto out;
	}
	held = refleak_find(dev);
	if (!held) {
		if (refleak_device_count == REFLEAK_MAX_DEVICES) {
			err = -ENOSPC;
			goto out;
		}
		held = fresh;
		fresh = NULL;
		held->dev = dev;
		strscpy(held->name, name, sizeof(held->name));
		held->netns = dev_net(dev)->ns.inum;
		list_add_tail(&held->node, &refleak_devices);
		refleak_device_count++;
	}
	refleak_do(held, count, how);
out:
	rcu_read_unlock();
	mutex_unlock(&refleak_lock);
	kfree(fresh);
	return err;
}

/* name NULL means every device. */
static unsigned long refleak_put_named(const char *name, unsigned long count)
{
	struct refleak_held *held, *next;
	unsigned long given = 0;

	mutex_lock(&refleak_lock);
	list_for_each_entry_safe(held, next, &refleak_devices, node) {
		if (name && strcmp(name, held->name))
			continue;
		given += refleak_give_back(held, count - given);
		if (given == count)
			break;
	}
	mutex_unlock(&refleak_lock);
	return given;
}

/* Copies one command from user space and ends it with a NUL. */
static int refleak_command(char *to, size_t size, const char __user *from,
			   size_t count)
{
	if (count >= size)
		return -EINVAL;
	if (copy_from_user(to, from, count))
		return -EFAULT;
	to[count] = '\0';
	return 0;
}

static ssize_t refleak_hold_write(struct file *file, const char __user *buf,
				  size_t count, loff_t *pos)
{
	char command[64], name[IFNAMSIZ], via[2] = "a";
	unsigned long times = 1;
	int err;

	err = refleak_command(command, sizeof(command), buf, count);
	if (err)
		return err;
	if (sscanf(command, "%15s %lu %1s", name, &times, via) < 1)
		return -EINVAL;
	if (!times || times > REFLEAK_MAX_COUNT ||
	    (via[0] != '*' && (via[0] < 'a' || via[0] >= 'a' + REFLEAK_SITES)))
		return -EINVAL;

	err = refleak_take(name, times, via[0]);
	return err ? err : count;
}

static ssize_t refleak_over_write(struct file *file, const char __user *buf,
				  size_t count, loff_t *pos)
{
	char command[64], name[IFNAMSIZ];
	unsigned long times = 1;
	int err;

	err = refleak_command(command, sizeof(command), buf, count);
	if (err)
		return err;
	if (sscanf(command, "%15s %lu", name, &times) < 1)
		return -EINVAL;
	if (!times || times > REFLEAK_MAX_COUNT)
		return -EINVAL;

	err = refleak_take(name, times, '-');
	return err ? err : count;
}

static ssize_t refleak_put_write(struct file *file, const char __user *buf,
				 size_t count, loff_t *pos)
{
	char command[64], name[IFNAMSIZ];
	unsigned long times = ULONG_MAX;
	int err;

	err = refleak_command(command, sizeof(command), buf, count);
	if (err)
		return err;
	if (sscanf(command, "%15s %lu", name, &times) < 1 || !times)
		return -EINVAL;

	if (!refleak_put_named(strcmp(name, "all") ? name : NULL, times))
		return -ENOENT;
	return count;
}

static int refleak_list_show(struct seq_file *m, void *unused)
{
	struct refleak_held *held;
	unsigned int site;

	mutex_lock(&refleak_lock);
	list_for_each_entry(held, &refleak_devices, node) {
		seq_printf(m, "%s netns=%u ifindex=%d a=%lu b=%lu", held->name,
			   held->netns, held->dev->ifindex, held->by[0],
			   held->by[1]);
		for (site = 2; site < REFLEAK_SITES; site++)
			if (held->by[site])
				seq_printf(m, " %c=%lu", 'a' + site,
					   held->by[site]);
		if (held->over)
			seq_printf(m, " over=%lu", held->over);
		seq_putc(m, '\n');
	}
	mutex_unlock(&refleak_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(refleak_list);

static const struct file_operations refleak_hold_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = refleak_hold_write,
	.llseek = noop_llseek,
};

static const struct file_operations refleak_over_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = refleak_over_write,
	.llseek = noop_llseek,
};

static const struct file_operations refleak_put_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = refleak_put_write,
	.llseek = noop_llseek,
};

static int __init refleak_init(void)
{
	refleak_dir = debugfs_create_dir("refleak", NULL);
	if (IS_ERR(refleak_dir))
		return PTR_ERR(refleak_dir);
	debugfs_create_file("hold", 0200, refleak_dir, NULL, &refleak_hold_fops);
	debugfs_create_file("over", 0200, refleak_dir, NULL, &refleak_over_fops);
	debugfs_create_file("put", 0200, refleak_dir, NULL, &refleak_put_fops);
	debugfs_create_file("list", 0400, refleak_dir, NULL, &refleak_list_fops);
	return 0;
}

static void __exit refleak_exit(void)
{
	/* Waits for writers that are inside; after it nothing can be held. */
	debugfs_remove(refleak_dir);
	refleak_put_named(NULL, ULONG_MAX);
}

module_init(refleak_init);
module_exit(refleak_exit);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("netns-trace");
MODULE_DESCRIPTION("Holds references on network devices, for tests");
