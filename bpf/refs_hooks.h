/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where each family of holders is made and freed. Every function is hooked in two
 * ways, of which pkg/probe takes one; see holderPoints there.
 */
#ifndef NETNS_TRACE_REFS_HOOKS_H
#define NETNS_TRACE_REFS_HOOKS_H

#include "refs_holders.h"

/* Parameters of dst_alloc(): 5 until 6.6, then 4 (762c8dc7f269); the result follows. */
const volatile __u32 dst_alloc_args;

/* Done at the entry of a function, with in_place for READ; the rest are its parameters. */
#define AT_ENTRY(name, function, action, ...)                                        \
	SEC("fentry/" #function) int BPF_PROG(name##_fentry, ##__VA_ARGS__)          \
	{                                                                            \
		const bool in_place __attribute__((unused)) = IN_PLACE;              \
										     \
		return action;                                                       \
	}                                                                            \
	SEC("kprobe/" #function) int BPF_KPROBE(name##_kprobe, ##__VA_ARGS__)        \
	{                                                                            \
		const bool in_place __attribute__((unused)) = PROBED;                \
										     \
		return action;                                                       \
	}

/* A function that returns a new holder; the rest are its parameters. */
#define MAKES(name, function, family, ...)                                           \
	SEC("fexit/" #function) int BPF_PROG(name##_fexit, __VA_ARGS__, __u64 made_) \
	{                                                                            \
		return made(ctx, family, made_, 0, 0);                               \
	}                                                                            \
	SEC("kretprobe/" #function) int BPF_KRETPROBE(name##_kretprobe, __u64 made_) \
	{                                                                            \
		return made(ctx, family, made_, 0, 0);                               \
	}

#define FREES(name, function, ...) \
	AT_ENTRY(name, function, gone((__u64)object), ##__VA_ARGS__)

SEC("fexit/dst_alloc")
int dst_made_fexit(unsigned long long *ctx)
{
	/* Not one load from a chosen place: the verifier wants its offset constant. */
	if (dst_alloc_args == 5)
		return made(ctx, HOLDER_DST, *(volatile __u64 *)&ctx[5], 0, 0);
	return made(ctx, HOLDER_DST, *(volatile __u64 *)&ctx[4], 0, 0);
}

SEC("kretprobe/dst_alloc")
int BPF_KRETPROBE(dst_made_kretprobe, __u64 dst)
{
	return made(ctx, HOLDER_DST, dst, 0, 0);
}

FREES(dst_gone, dst_destroy, void *object)

/* Right after the allocation, so that no caller of the inlined function is missed. */
SEC("tp_btf/neigh_create")
int BPF_PROG(neigh_made_tp_btf, void *tbl, void *dev, void *key, void *neigh)
{
	return made(ctx, HOLDER_NEIGHBOUR, (__u64)neigh, 0, 0);
}

SEC("raw_tp/neigh_create")
int BPF_PROG(neigh_made_raw_tp, void *tbl, void *dev, void *key, void *neigh)
{
	return made(ctx, HOLDER_NEIGHBOUR, (__u64)neigh, 0, 0);
}

FREES(neigh_gone, neigh_destroy, void *object)

MAKES(parms_made, neigh_parms_alloc, HOLDER_NEIGH_PARMS, void *dev, void *tbl)
/* gives the reference back; the memory lives on for a grace period */
FREES(parms_gone, neigh_parms_release, void *tbl, void *object)

MAKES(in_dev_made, inetdev_init, HOLDER_IN_DEV, void *dev)
FREES(in_dev_gone, in_dev_finish_destroy, void *object)

MAKES(inet6_dev_made, ipv6_add_dev, HOLDER_INET6_DEV, void *dev)
FREES(inet6_dev_gone, in6_dev_finish_destroy, void *object)

/* The device is filled in later, which does not matter: it is read when asked for. */
AT_ENTRY(nexthop_made, fib_nh_common_init, made(ctx, HOLDER_NEXTHOP, (__u64)object, 0, 0),
	 void *net, void *object)
FREES(nexthop_gone, fib_nh_common_release, void *object)

AT_ENTRY(packet_made, packet_do_bind, made(ctx, HOLDER_PACKET, (__u64)object, 0, 0), void *object)
AT_ENTRY(packet_gone, packet_release, gone((__u64)READ(in_place, sock, sk)), struct socket *sock)

MAKES(qdisc_made, qdisc_alloc, HOLDER_QDISC, void *dev_queue, void *ops, void *extack)
FREES(qdisc_gone, __qdisc_destroy, void *object)
FREES(qdisc_gone_old, qdisc_destroy, void *object) /* before 5.19 */

SEC("fexit/__netdev_adjacent_dev_insert")
int BPF_PROG(adjacent_made_fexit, struct net_device *dev, struct net_device *adj_dev, void *list,
	     void *private, bool master, int error)
{
	return adjacent_made(ctx, dev, adj_dev, list, error);
}

SEC("fentry/__netdev_adjacent_dev_remove")
int BPF_PROG(adjacent_gone_fentry, struct net_device *dev, struct net_device *adj_dev, __u16 times,
	     void *list)
{
	return adjacent_gone(adj_dev, times, list);
}

/*
 * The queues from old to new get into sysfs; it is also called the other way round.
 * What adds a single one is inlined everywhere.
 */
AT_ENTRY(rx_queues, net_rx_queue_update_kobjects, rx_queues_made(ctx, dev, old, new),
	 struct net_device *dev, int old, int new)
AT_ENTRY(tx_queues, netdev_queue_update_kobjects, tx_queues_made(ctx, dev, old, new),
	 struct net_device *dev, int old, int new)
FREES(rx_queue_gone, rx_queue_release, void *object)
FREES(tx_queue_gone, netdev_queue_release, void *object)

/* An event on top of one that is pending already takes no reference. */
AT_ENTRY(linkwatch_made, linkwatch_fire_event,
	 link_event_pending(in_place, dev) ? 0 : made(ctx, HOLDER_LINKWATCH, (__u64)dev, 0, 0),
	 struct net_device *dev)

#endif
