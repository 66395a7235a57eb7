/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The sum of a counter of which every CPU has a part. CPUs are read one after
 * another: while it changes, the sum is exact for no one moment.
 */
#ifndef NETNS_TRACE_PERCPU_H
#define NETNS_TRACE_PERCPU_H

#include "emit.h"

#define MAX_CPUS 1024

/* Address of __per_cpu_offset[], from kallsyms; 0: no counter can be read. */
const volatile __u64 per_cpu_offset;
const volatile __u32 cpus; /* possible CPUs */

/* Adds to *sum what the CPUs have of the ints at this per-CPU pointer. */
static __always_inline bool add_per_cpu(__u64 counter, __s64 *sum)
{
	if (!counter || !per_cpu_offset || cpus > MAX_CPUS)
		return false;
	for (int cpu = 0; cpu < MAX_CPUS; cpu++) {
		__u64 offset;
		__s32 n;

		if (cpu >= cpus)
			break;
		if (bpf_probe_read_kernel(&offset, sizeof(offset),
					  (void *)(per_cpu_offset + cpu * sizeof(offset))) ||
		    bpf_probe_read_kernel(&n, sizeof(n), (void *)(counter + offset))) {
			count_loss(LOSS_READ);
			return false;
		}
		*sum += n;
	}
	return true;
}

#endif
