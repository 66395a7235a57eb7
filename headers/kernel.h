/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The part of the kernel that netns-trace reads, written by hand. A field that
 * is not here or in kernel_net.h is not read: they are the whole list. Layouts are not copied
 * from any one kernel; CO-RE finds each field's place in the running kernel's
 * BTF, so order and neighbours do not matter here.
 *
 * A name with ___suffix is the same kernel type as another release spelled it.
 */
#ifndef NETNS_TRACE_KERNEL_H
#define NETNS_TRACE_KERNEL_H

/* Tells libbpf's bpf_tracing.h that kernel types, not user-space ones, are in scope. */
#define __VMLINUX_H__

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef signed short __s16;
typedef unsigned int __u32;
typedef signed int __s32;
typedef unsigned long long __u64;
typedef signed long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_STACK_TRACE = 7,
	BPF_MAP_TYPE_QUEUE = 22,
	BPF_MAP_TYPE_RINGBUF = 27,
};
enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_EXIST = 2,
};
#define BPF_F_USER_STACK (1ULL << 8)
#define BPF_F_MMAPABLE (1U << 10)
/* Looked up in the kernel's BTF, to know whether it has the helper. */
enum bpf_func_id {
	BPF_FUNC_get_current_task_btf = 158,
};

#define CLONE_THREAD 0x00010000
#define CLONE_NEWNET 0x40000000
#define PF_KTHREAD 0x00200000
#define TASK_COMM_LEN 16
#define EINPROGRESS 115
#define IFNAMSIZ 16
#define MAX_ERRNO 4095
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define TCP_LISTEN 10

#define NSFS_MAGIC 0x6e736673
#define SOCKFS_MAGIC 0x534f434b
#define S_IFMT 0170000
#define S_IFCHR 0020000
#define TUN_RDEV (10 << 20 | 200) /* /dev/net/tun, as MKDEV() spells it */

/* dst_entry.flags: the entry is left out of its dst_ops' counter; unchanged since 3.0 */
#define DST_NOCOUNT 0x0008

#define ETH_P_IP 0x0800
#define ETH_P_8021Q 0x8100
#define ETH_P_IPV6 0x86dd
#define ETH_P_8021AD 0x88a8
#define ARPHRD_ETHER 1
#define ARPHRD_LOOPBACK 772
#define IPPROTO_HOPOPTS 0
#define IPPROTO_ICMP 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_ICMPV6 58
#define IPPROTO_DSTOPTS 60

/* skb->ip_summed; include/linux/skbuff.h explains them at length. */
#define CHECKSUM_NONE 0
#define CHECKSUM_UNNECESSARY 1

/* enum in struct net_device; the values have not moved since 2.6. */
#define NETREG_UNREGISTERING 2
#define NETREG_UNREGISTERED 3

/* Registers at a kprobe, as include/asm names them. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long di, si, dx, cx, bx, r8, r9, r10, r11, r12, r13, r14, r15, ax, sp, bp, ip;
} __attribute__((preserve_access_index));
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
	__u64 sp;
	__u64 pc;
	__u64 pstate;
} __attribute__((preserve_access_index));
struct pt_regs {
	struct user_pt_regs user_regs;
} __attribute__((preserve_access_index));
#else
#error "netns-trace has no register names for this architecture"
#endif

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	__s64 counter;
} atomic64_t;

typedef struct {
	int counter;
} atomic_t;

typedef struct refcount_struct {
	atomic_t refs;
} refcount_t;

struct proc_ns_operations {
	char *name; /* "net" */
};

struct dentry;

struct ns_common {
	unsigned int inum;
	refcount_t count; /* 5.11 to 6.17 */
	struct proc_ns_operations *ops;
	struct dentry *stashed; /* that of its file, while there is one */
};

struct ns_common___own_count {
	refcount_t __ns_ref; /* since 6.18 */
};

typedef atomic64_t atomic_long_t;

struct ns_common___as_number {
	atomic_long_t stashed; /* the same, as 6.1 and before have it */
};

struct list_head {
	struct list_head *next;
};

struct net_device;

struct percpu_counter {
	__s64 count;
	__s32 *counters; /* per-CPU pointer; NULL once it is destroyed */
};

struct dst_ops {
	unsigned short family;
	unsigned int gc_thresh;
	void *gc; /* a function; NULL where nothing is collected */
	struct percpu_counter pcpuc_entries;
};

struct dst_entry {
	struct net_device *dev;
	struct dst_ops *ops;
	unsigned short flags;
	atomic_t __refcnt; /* until 6.3 */
};

struct netns_sysctl_ipv6 {
	int ip6_rt_max_size;
};

struct netns_ipv6 {
	struct netns_sysctl_ipv6 sysctl;
	struct dst_ops ip6_dst_ops;
};

struct netns_xfrm {
	struct dst_ops xfrm4_dst_ops;
	struct dst_ops xfrm6_dst_ops;
};

struct net {
	struct list_head list; /* of all that live, in a ring */
	struct ns_common ns;
	__u64 net_cookie; /* since 5.12 (3d368ab87cf6) given at birth */
	__u32 hash_mix;   /* random, given at birth */
	struct net_device *loopback_dev;
	struct netns_ipv6 ipv6;
	struct netns_xfrm xfrm;
};

/* before 5.12: an atomic64_t, and 0 until a socket asked for it */
struct net___before_5_12 {
	atomic64_t net_cookie;
};

struct net___before_5_11 {
	refcount_t count;
};

struct nsproxy {
	struct net *net_ns;
};

struct signal_struct {
	int nr_threads;
	atomic_t live;
};

struct task_struct {
	unsigned int flags;
	int pid;  /* the thread, in the initial pid namespace */
	int tgid; /* its process */
	__u64 start_boottime;
	struct task_struct *group_leader;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	char comm[TASK_COMM_LEN];
};

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct file;

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	void *map;
	void *key;
	void *value;
};

typedef struct {
	struct net *net;
} possible_net_t;

#pragma clang attribute pop

#include "kernel_net.h"

#endif
