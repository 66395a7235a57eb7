/* SPDX-License-Identifier: GPL-2.0-only */
/* What is read of a net_device itself: how far it is gone, and how often it is held. */
#ifndef NETNS_TRACE_NET_DEVICE_H
#define NETNS_TRACE_NET_DEVICE_H

#include "percpu.h"

static __always_inline __u32 reg_state(bool in_place, struct net_device *dev)
{
	struct net_device___enum_state *old = (void *)dev;

	if (bpf_core_field_exists(old->reg_state))
		return BPF_CORE_READ_BITFIELD_PROBED(old, reg_state);
	return READ(in_place, dev, reg_state);
}

/* The sum the kernel prints as "Usage count". A device in unregistration is quiet. */
static __always_inline bool read_refcount(struct net_device *dev, __s32 *count)
{
	struct net_device___one_counter *one = (void *)dev;
	__s64 sum = 0;

	*count = 0;
	if (bpf_core_field_exists(one->dev_refcnt)) {
		*count = BPF_CORE_READ(one, dev_refcnt.refs.counter);
		return true;
	}
	if (!bpf_core_field_exists(dev->pcpu_refcnt) ||
	    !add_per_cpu((__u64)BPF_CORE_READ(dev, pcpu_refcnt), &sum))
		return false;
	*count = sum;
	return true;
}

/* free_netdev() of a device that is still UNREGISTERING only asks for it to be freed. */
static __always_inline bool will_be_freed(bool in_place, struct net_device *dev)
{
	return reg_state(in_place, dev) != NETREG_UNREGISTERING;
}

#endif
