// SPDX-License-Identifier: GPL-2.0-only
/*
 * objleak: takes references on objects that themselves hold a network device, and
 * forgets to give them back, until it is told to. The device then waits in
 * unregistration, and what holds it is one of the network stack's own objects.
 *
 * /sys/kernel/debug/objleak/
 *	hold	write "FAMILY DEVICE [IPv4-ADDRESS]": take a reference on an object
 *		of DEVICE, of the writer's network namespace:
 *		neighbour ADDRESS	the neighbour, which is made if need be
 *		in_device		its IPv4 state
 *		inet6_dev		its IPv6 state
 *		nexthop ADDRESS		what the route to ADDRESS goes through
 *		dst			a dst entry of its own, in nobody's list
 *		route ADDRESS		the dst entry that a packet to ADDRESS gets;
 *					the kernel moves it away from the device
 *		qdisc			the qdisc of its first queue
 *		rx_queue, tx_queue	the first queue in sysfs
 *	put	write anything: give everything back
 *
 * Unloading the module gives everything back.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/inet.h>
#include <linux/inetdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <net/addrconf.h>
#include <net/arp.h>
#include <net/ip_fib.h>
#include <net/neighbour.h>
#include <net/net_namespace.h>
#include <net/route.h>
#include <net/sch_generic.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
#include <net/netdev_rx_queue.h>
#endif

#define OBJLEAK_MAX 64

struct objleak_held {
	void *object;
	void (*put)(void *object);
};

static struct objleak_held objleak_held[OBJLEAK_MAX];
static unsigned int objleak_count;
static DEFINE_MUTEX(objleak_lock);
static struct dentry *objleak_dir;

static void put_neighbour(void *n) { neigh_release(n); }
static void put_in_device(void *idev) { in_dev_put(idev); }
static void put_inet6_dev(void *idev) { in6_dev_put(idev); }
static void put_nexthop(void *fi) { fib_info_put(fi); }
static void put_dst(void *dst) { dst_release(dst); }
static void put_kobject(void *kobj) { kobject_put(kobj); }

static void put_qdisc(void *q)
{
	rtnl_lock();
	qdisc_put(q);
	rtnl_unlock();
}

static int objleak_keep(void *object, void (*put)(void *object))
{
	if (!object)
		return -ENOENT;
	if (IS_ERR(object))
		return PTR_ERR(object);
	objleak_held[objleak_count].object = object;
	objleak_held[objleak_count].put = put;
	objleak_count++;
	return 0;
}

static int hold_neighbour(struct net_device *dev, __be32 address)
{
	return objleak_keep(neigh_create(&arp_tbl, &address, dev), put_neighbour);
}

static int hold_nexthop(struct net_device *dev, __be32 address)
{
	struct flowi4 flow = { .daddr = address };
	struct fib_result result = {};
	int err;

	rcu_read_lock();
	err = fib_lookup(dev_net(dev), &flow, &result, 0);
	if (!err && result.fi)
		fib_info_hold(result.fi);
	rcu_read_unlock();
	return err ? err : objleak_keep(result.fi, put_nexthop);
}

static int hold_route(struct net_device *dev, __be32 address)
{
	struct flowi4 flow = { .daddr = address };
	struct rtable *rt = ip_route_output_key(dev_net(dev), &flow);

	if (IS_ERR(rt))
		return PTR_ERR(rt);
	return objleak_keep(&rt->dst, put_dst);
}

static int hold_dst(struct net_device *dev)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 18, 0)
	struct rtable *rt = rt_dst_alloc(dev, 0, RTN_UNICAST, true, true);
#else
	struct rtable *rt = rt_dst_alloc(dev, 0, RTN_UNICAST, true);
#endif
	return objleak_keep(rt ? &rt->dst : NULL, put_dst);
}

static int hold_qdisc(struct net_device *dev)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
	struct Qdisc *q = dev->_tx[0].qdisc_sleeping;
#else
	struct Qdisc *q = rtnl_dereference(dev->_tx[0].qdisc_sleeping);
#endif
	if (!q || q->flags & TCQ_F_BUILTIN)
		return -ENOENT;
	refcount_inc(&q->refcnt);
	return objleak_keep(q, put_qdisc);
}

static int objleak_hold(const char *family, struct net_device *dev, __be32 address)
{
	if (!strcmp(family, "neighbour"))
		return hold_neighbour(dev, address);
	if (!strcmp(family, "in_device"))
		return objleak_keep(in_dev_get(dev), put_in_device);
	if (!strcmp(family, "inet6_dev"))
		return objleak_keep(in6_dev_get(dev), put_inet6_dev);
	if (!strcmp(family, "nexthop"))
		return hold_nexthop(dev, address);
	if (!strcmp(family, "dst"))
		return hold_dst(dev);
	if (!strcmp(family, "route"))
		return hold_route(dev, address);
	if (!strcmp(family, "qdisc"))
		return hold_qdisc(dev);
	if (!strcmp(family, "rx_queue"))
		return objleak_keep(kobject_get(&dev->_rx[0].kobj), put_kobject);
	if (!strcmp(family, "tx_queue"))
		return objleak_keep(kobject_get(&dev->_tx[0].kobj), put_kobject);
	return -EINVAL;
}

static ssize_t objleak_hold_write(struct file *file, const char __user *buf,
				  size_t count, loff_t *pos)
{
	char command[64], family[16], name[IFNAMSIZ], address[16] = "0.0.0.0";
	struct net_device *dev;
	int err;

	if (count >= sizeof(command))
		return -EINVAL;
	if (copy_from_user(command, buf, count))
		return -EFAULT;
	command[count] = '\0';
	if (sscanf(command, "%15s %15s %15s", family, name, address) < 2)
		return -EINVAL;

	mutex_lock(&objleak_lock);
	rtnl_lock();
	/* The lookup that takes no reference of its own. */
	dev = __dev_get_by_name(current->nsproxy->net_ns, name);
	if (!dev)
		err = -ENODEV;
	else if (objleak_count == OBJLEAK_MAX)
		err = -ENOSPC;
	else
		err = objleak_hold(family, dev, in_aton(address));
	rtnl_unlock();
	mutex_unlock(&objleak_lock);
	return err ? err : count;
}

static void objleak_put_all(void)
{
	mutex_lock(&objleak_lock);
	while (objleak_count) {
		objleak_count--;
		objleak_held[objleak_count].put(objleak_held[objleak_count].object);
	}
	mutex_unlock(&objleak_lock);
}

static ssize_t objleak_put_write(struct file *file, const char __user *buf,
				 size_t count, loff_t *pos)
{
	objleak_put_all();
	return count;
}

static const struct file_operations objleak_hold_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = objleak_hold_write,
	.llseek = noop_llseek,
};

static const struct file_operations objleak_put_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = objleak_put_write,
	.llseek = noop_llseek,
};

static int __init objleak_init(void)
{
	objleak_dir = debugfs_create_dir("objleak", NULL);
	if (IS_ERR(objleak_dir))
		return PTR_ERR(objleak_dir);
	debugfs_create_file("hold", 0200, objleak_dir, NULL, &objleak_hold_fops);
	debugfs_create_file("put", 0200, objleak_dir, NULL, &objleak_put_fops);
	return 0;
}

static void __exit objleak_exit(void)
{
	/* Waits for writers that are inside; after it nothing can be held. */
	debugfs_remove(objleak_dir);
	objleak_put_all();
}

module_init(objleak_init);
module_exit(objleak_exit);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("netns-trace");
MODULE_DESCRIPTION("Holds objects that hold network devices, for tests");
