// SPDX-License-Identifier: GPL-2.0-only
/*
 * refpairs: takes references on a network device and gives each back at once, as
 * fast as the kernel can: what watching one reference costs is seen best where
 * nothing else is done, and what is lost under load too. It leaks nothing.
 *
 * /sys/kernel/debug/refpairs: write "NAME COUNT", of the writer's network namespace.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/sched.h>
#include <linux/uaccess.h>
#include <net/net_namespace.h>

#define REFPAIRS_MAX 10000000UL

static struct dentry *refpairs_file;

static noinline void refpairs_one(struct net_device *dev)
{
	dev_hold(dev);
	barrier();
	dev_put(dev);
}

static ssize_t refpairs_write(struct file *file, const char __user *buf,
			      size_t count, loff_t *pos)
{
	char command[64], name[IFNAMSIZ];
	struct net_device *dev;
	unsigned long pairs;

	if (count >= sizeof(command))
		return -EINVAL;
	if (copy_from_user(command, buf, count))
		return -EFAULT;
	command[count] = '\0';
	if (sscanf(command, "%15s %lu", name, &pairs) != 2 || pairs > REFPAIRS_MAX)
		return -EINVAL;
	dev = dev_get_by_name(current->nsproxy->net_ns, name);
	if (!dev)
		return -ENODEV;
	while (pairs--) {
		refpairs_one(dev);
		if (!(pairs % 1024))
			cond_resched();
	}
	dev_put(dev);
	return count;
}

static const struct file_operations refpairs_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = refpairs_write,
	.llseek = noop_llseek,
};

static int __init refpairs_init(void)
{
	refpairs_file = debugfs_create_file("refpairs", 0200, NULL, NULL, &refpairs_fops);
	return PTR_ERR_OR_ZERO(refpairs_file);
}

static void __exit refpairs_exit(void)
{
	debugfs_remove(refpairs_file);
}

module_init(refpairs_init);
module_exit(refpairs_exit);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("netns-trace");
MODULE_DESCRIPTION("Takes references on network devices and gives them back, for measuring");
