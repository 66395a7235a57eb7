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
 *	hold	write "NAME [COUNT [a|b]]": take COUNT (1) references on device
 *		NAME of the writer's network namespace, in refleak_hold_a or
 *		refleak_hold_b
 *	put	write "NAME|all [COUNT]": give COUNT (every one) back; those taken
 *		in refleak_hold_a go first
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

struct refleak_held {
	struct list_head node;
	struct net_device *dev;
	/* As it was when first held: unregistration or a rename may change it. */
	char name[IFNAMSIZ];
	unsigned int netns;
	unsigned long by_a;
	unsigned long by_b;
};

static LIST_HEAD(refleak_devices);
static unsigned int refleak_device_count;
static DEFINE_MUTEX(refleak_lock);
static struct dentry *refleak_dir;

/*
 * dev_hold and dev_put are inlined into their callers, so the function around
 * them is what a call trace shows. There are two holders, so that a test can ask
 * which of two traces a leak came from. They write to different fields, or
 * the compiler would fold the two equal bodies into one.
 */
static noinline __noclone void refleak_hold_a(struct refleak_held *held)
{
	dev_hold(held->dev);
	held->by_a++;
}

static noinline __noclone void refleak_hold_b(struct refleak_held *held)
{
	dev_hold(held->dev);
	held->by_b++;
}

static noinline __noclone void refleak_put(struct refleak_held *held)
{
	if (held->by_a)
		held->by_a--;
	else
		held->by_b--;
	dev_put(held->dev);
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

	while (given < count && (held->by_a || held->by_b)) {
		refleak_put(held);
		given++;
	}
	if (!held->by_a && !held->by_b) {
		list_del(&held->node);
		refleak_device_count--;
		kfree(held);
	}
	return given;
}

static int refleak_hold(const char *name, unsigned long count, char via)
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
	while (count--) {
		if (via == 'b')
			refleak_hold_b(held);
		else
			refleak_hold_a(held);
	}
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
	    (via[0] != 'a' && via[0] != 'b'))
		return -EINVAL;

	err = refleak_hold(name, times, via[0]);
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

	mutex_lock(&refleak_lock);
	list_for_each_entry(held, &refleak_devices, node)
		seq_printf(m, "%s netns=%u ifindex=%d a=%lu b=%lu\n",
			   held->name, held->netns, held->dev->ifindex,
			   held->by_a, held->by_b);
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
