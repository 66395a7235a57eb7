/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The part of the kernel's networking that netns-trace reads: devices, what holds them,
 * sockets and packets. See kernel.h, which includes it.
 */
#ifndef NETNS_TRACE_KERNEL_NET_H
#define NETNS_TRACE_KERNEL_NET_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

enum netdev_cmd {
	NETDEV_UNREGISTER = 6,
};

struct kobject {
	char *name;
};

struct netdev_queue;
struct netdev_rx_queue;

/* bits of net_device.state */
enum netdev_state_t {
	__LINK_STATE_LINKWATCH_PENDING = 3,
};

struct net_device {
	char name[IFNAMSIZ];
	unsigned long state; /* enum netdev_state_t */
	int ifindex;
	unsigned short type; /* ARPHRD_ */
	__u8 reg_state; /* u8 since 6.8 and in later stable releases; see below */
	possible_net_t nd_net;
	int *pcpu_refcnt; /* per-CPU pointer, when CONFIG_PCPU_DEV_REFCNT */
	struct netdev_rx_queue *_rx;
	struct netdev_queue *_tx;
};

struct net_device___enum_state {
	enum {
		NETREG_UNINITIALIZED___old,
	} reg_state : 8;
};

struct net_device___one_counter {
	refcount_t dev_refcnt; /* when not CONFIG_PCPU_DEV_REFCNT, since 5.13 */
};

struct netdev_notifier_info {
	struct net_device *dev;
};

/* What holds net_devices: see enum holder_family in record.h. */

typedef struct {
	atomic_t refcnt;
} rcuref_t;

#define RCUREF_RELEASED 0xC0000000U /* include/linux/rcuref.h */

struct dst_entry___rcuref {
	rcuref_t __rcuref; /* since 6.4 (bc9d3a9f2afc); counts from 0 */
};

struct neigh_table {
	int family;
};

struct neighbour {
	struct neigh_table *tbl;
	refcount_t refcnt;
	struct net_device *dev;
	__u8 primary_key[];
};

struct neigh_parms {
	struct net_device *dev;
	struct neigh_table *tbl;
};

struct in_device {
	struct net_device *dev;
	refcount_t refcnt;
};

struct inet6_dev {
	struct net_device *dev;
	refcount_t refcnt;
};

struct fib_nh_common {
	struct net_device *nhc_dev;
	__u8 nhc_family;
	__u8 nhc_gw_family;
	union {
		__be32 ipv4;
	} nhc_gw; /* 16 bytes, for IPv6 */
};

struct super_block {
	unsigned long s_magic;
};

struct inode {
	unsigned short i_mode;
	unsigned int i_rdev;
	unsigned long i_ino;
	struct super_block *i_sb;
	void *i_private; /* of nsfs: a struct ns_common */
};

struct file {
	struct inode *f_inode;
	void *private_data; /* of a socket: a struct socket */
};

struct sk_buff;

struct sk_buff_head {
	struct sk_buff *next;
	__u32 qlen;
};

struct sock_common {
	unsigned short skc_family;
	unsigned char skc_state;
	unsigned char skc_net_refcnt : 1;
	possible_net_t skc_net;
};

struct sock {
	struct sock_common __sk_common;
	struct sk_buff_head sk_receive_queue;
	unsigned short sk_type;
	unsigned short sk_protocol;
	__u32 sk_ack_backlog;
};

/* Files on their way from one process to another (SCM_RIGHTS). */
struct scm_fp_list {
	short count;
	struct file *fp[253];
};

/* What a message of a unix socket has in sk_buff.cb. */
struct unix_skb_parms {
	struct scm_fp_list *fp;
};

struct packet_type {
	struct net_device *dev;
};

struct packet_sock {
	struct packet_type prot_hook;
};

struct socket {
	struct sock *sk;
};

struct Qdisc_ops {
	char id[16];
};

struct netdev_queue {
	struct net_device *dev;
	struct kobject kobj;
};

struct netdev_rx_queue {
	struct kobject kobj;
	struct net_device *dev;
};

struct Qdisc {
	struct Qdisc_ops *ops;
	__u32 handle;
	struct netdev_queue *dev_queue;
	refcount_t refcnt;
};

struct sk_buff {
	struct sk_buff *next;
	char cb[48];
	struct net_device *dev;
	unsigned int len;
	unsigned int data_len; /* of it, in fragments */
	__u8 ip_summed : 2;
	__u8 tc_at_ingress : 1; /* with CONFIG_NET_XGRESS, before 6.6 CONFIG_NET_CLS_ACT */
	__u16 mac_header; /* from head; all ones where there is none */
	unsigned int end; /* of the linear part, from head: there skb_shared_info is */
	unsigned char *head;
	unsigned char *data;
};

struct page {
	unsigned long flags; /* nothing of it is read: only its size is asked for */
};

/* A page fragment of a packet before 6.9 (21d2e6737c97), */
struct bio_vec {
	struct page *bv_page;
	unsigned int bv_len;
	unsigned int bv_offset;
};

/* and since. */
struct skb_frag {
	unsigned long netmem; /* a struct page, unless bit 0 is set */
	unsigned int len;
	unsigned int offset;
};

struct skb_shared_info {
	__u8 nr_frags;
	unsigned short gso_size;
	struct sk_buff *frag_list;
	struct bio_vec frags[1]; /* of the kind above */
};

struct module {
	char name[56]; /* MODULE_NAME_LEN on 64-bit */
};

#pragma clang attribute pop

#endif
