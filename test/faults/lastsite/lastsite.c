// SPDX-License-Identifier: GPL-2.0-only
/*
 * lastsite: a module whose last function takes a reference on a network device, as
 * net_failover's is in some builds of 6.12.
 *
 * Nobody calls it. The danger is in a kprobe there: can_optimize() decodes the
 * function up to the end that kallsyms knows, which for a module's last one is the end
 * of its text, whole pages. What fills the last page is zeros, each two of them an
 * instruction; with an odd number of them the last instruction begins on the last byte
 * and its second byte is read from the next page. Since 6.4 (ac3b43283923) a module's
 * text is in memory of its own, and that page is not there.
 */
#include <linux/module.h>
#include <linux/netdevice.h>

void lastsite_hold(struct net_device *dev);

static noinline void lastsite_held(struct net_device *dev)
{
	pr_debug("%s\n", netdev_name(dev));
}

/*
 * Its section comes behind .text, where the compiler puts what it believes rare. It
 * ends with a jump, as such code does: behind a return there may be int3, at which
 * the kernel stops to decode.
 */
__used noinline __section(".text.unlikely") void lastsite_hold(struct net_device *dev)
{
	if (!dev)
		__builtin_unreachable(); /* a branch to behind the probe would save it */
	dev_hold(dev);
	lastsite_held(dev);
}

/* Whatever the compiler made of it, it ends at an odd address. */
asm(".pushsection .text.unlikely, \"ax\", @progbits\n"
    "	.balign 2\n"
    "	nop\n"
    ".popsection\n");

static int __init lastsite_init(void)
{
	return 0;
}

static void lastsite_exit(void) /* without __exit, whose section would be the last */
{
}

module_init(lastsite_init);
module_exit(lastsite_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("a network device's reference taken in a module's last function");
