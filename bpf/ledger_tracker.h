/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ledger of a kernel that tracks references of net_devices itself
 * (CONFIG_NET_DEV_REFCNT_TRACKER, 5.17, 914a7b5000d0): each reference has an object
 * then, a ref_tracker, made and freed in two functions. So it is known which put ends
 * which hold, and the ledger has the references that there are, not holds and puts.
 *
 * A hold without a tracker is not seen here: the kernel itself only counts those.
 */
#ifndef NETNS_TRACE_LEDGER_TRACKER_H
#define NETNS_TRACE_LEDGER_TRACKER_H

#include "ledger_trace.h"

#define MAX_TRACKED 65536
#define TRACKED_SITE 0 /* the only one there is */

struct tracked {
	struct trace_key key; /* of the trace that it is counted in */
	__u64 counter; /* of the device */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* MAX_TRACKED where it is used */
	__type(key, __u64); /* the ref_tracker */
	__type(value, struct tracked);
} ref_tracked SEC(".maps");

/*
 * The device that this is the directory of, 0 if of none: namespaces have such
 * directories too. What is there tells itself by a list that every net_device has from
 * its making on, and that leads back to it.
 */
static __always_inline __u64 tracked_device(struct ref_tracker_dir *dir)
{
	__u64 dev = (__u64)dir - bpf_core_field_offset(struct net_device, refcnt_tracker);
	struct list_head *unreg = (void *)dev + bpf_core_field_offset(struct net_device, unreg_list);
	struct list_head *next = NULL, *back = NULL;

	if (bpf_probe_read_kernel(&next, sizeof(next), &unreg->next) ||
	    bpf_probe_read_kernel(&back, sizeof(back), &next->prev))
		return 0;
	return back == unreg ? dev : 0;
}

static __always_inline __u64 tracker_of(struct ref_tracker **place)
{
	__u64 tracker = 0;

	if (place)
		bpf_probe_read_kernel(&tracker, sizeof(tracker), place);
	return tracker;
}

#endif
