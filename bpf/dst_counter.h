/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a dst_ops is: whose it is, and what its counter says.
 *
 * A dst_ops does not tell its namespace. Those of a namespace lie inside its
 * struct net, so that one is found from the other; the address alone says which
 * of them it is. Names of slab caches do not: caches are merged.
 */
#ifndef NETNS_TRACE_DST_COUNTER_H
#define NETNS_TRACE_DST_COUNTER_H

#include "percpu.h"

const volatile __u64 ipv4_dst_ops; /* its address; 0: not known */

struct owner {
	__u64 net; /* 0: all namespaces share the dst_ops */
	__u32 birth; /* hash_mix of the namespace: another that gets its memory has another */
	__u32 kind; /* enum dst_ops_kind */
};

static __always_inline __u32 birth_of(__u64 net)
{
	return BPF_CORE_READ((struct net *)net, hash_mix);
}

/* A live namespace's loopback device is in that namespace. */
static __always_inline bool is_net(__u64 net)
{
	struct net_device *lo = BPF_CORE_READ((struct net *)net, loopback_dev);

	return lo && (__u64)BPF_CORE_READ(lo, nd_net.net) == net;
}

#define LIES_AT(field, number)                                                       \
	do {                                                                         \
		if (bpf_core_field_exists(struct net, field)) {                      \
			__u64 net_ = ops - bpf_core_field_offset(struct net, field); \
			if (is_net(net_)) {                                          \
				o->net = net_;                                       \
				o->birth = birth_of(net_);                           \
				o->kind = (number);                                  \
				return;                                              \
			}                                                            \
		}                                                                    \
	} while (0)

static __always_inline void find_owner(struct owner *o, __u64 ops)
{
	__u16 family = BPF_CORE_READ((struct dst_ops *)ops, family);

	o->net = 0;
	o->birth = 0;
	o->kind = DST_OPS_OTHER;
	if (ops == ipv4_dst_ops) {
		o->kind = DST_OPS_IPV4;
		return;
	}
	if (family == AF_INET6) {
		LIES_AT(ipv6.ip6_dst_ops, DST_OPS_IPV6);
		LIES_AT(xfrm.xfrm6_dst_ops, DST_OPS_XFRM6);
	} else if (family == AF_INET) {
		LIES_AT(xfrm.xfrm4_dst_ops, DST_OPS_XFRM4);
	}
}

/*
 * The exact sum of the counter, not the kernel's fast one, which is off by up to 32
 * for each CPU.
 */
static __always_inline bool read_entries(struct dst_ops *ops, __s64 *sum)
{
	*sum = BPF_CORE_READ(ops, pcpuc_entries.count);
	return add_per_cpu((__u64)BPF_CORE_READ(ops, pcpuc_entries.counters), sum);
}

#endif
