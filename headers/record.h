/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The wire layout of every record that BPF programs put in the ring buffer.
 * pkg/record decodes them; a test there holds both spellings against each other
 * through the BTF of the compiled objects.
 *
 * A record type never changes its layout: fields are appended and the version
 * raised, so that a reader can tell by `size` what a record has.
 */
#ifndef NETNS_TRACE_RECORD_H
#define NETNS_TRACE_RECORD_H

enum record_type {
	RECORD_NETNS_SWITCH = 1,  /* a thread changed network namespace */
	RECORD_THREAD_CLONE = 2,  /* a thread was cloned while its parent was away from home */
	RECORD_THREAD_EXIT = 3,   /* a thread that was away exited */
	RECORD_THREAD_SEEN = 4,   /* a thread found away when tracing started */
	RECORD_PROCESS_SEEN = 5,  /* a process came under watch */
	RECORD_PROCESS_EXEC = 6,  /* a watched process, or one with a thread away, called exec */
	RECORD_PROCESS_EXIT = 7,  /* the last thread of a watched process exited */
	RECORD_STRANDED_CALL = 8, /* socket() or connect() by a thread that was left behind */
	RECORD_DEV_WAIT = 9,      /* a net_device in unregistration is still referenced */
	RECORD_DEV_FREE = 10,     /* such a net_device was freed after all */
	RECORD_CONSOLE_WAIT = 11, /* the kernel's own message about such a device */
	RECORD_MODULE_LOAD = 12,  /* a kernel module is about to become live */
	RECORD_CSUM_REWRITE = 13, /* a device turned CHECKSUM_NONE into CHECKSUM_UNNECESSARY */
	RECORD_CSUM_CORRUPT = 14, /* and the checksum of such a packet was wrong */
	RECORD_DST_FAILURE = 15,  /* dst_alloc() returned NULL */
	RECORD_DST_CROSSING = 16, /* a dst entry was released from another account than it was charged to */
	RECORD_HOLDER = 18,       /* an object that points at a net_device in unregistration */
	RECORD_NETNS_BIRTH = 19,  /* a network namespace was made */
	RECORD_NETNS_ALIVE = 30,  /* a network namespace in the kernel's list */
	RECORD_NETNS_LIST = 31,   /* that list was gone through */
	RECORD_NETNS_TASK = 32,   /* a thread that is in a network namespace */
	RECORD_NETNS_FILE = 33,   /* an open file that keeps a network namespace alive */
};

#define RECORD_VERSION 1
#define STACK_DEPTH 32

struct record_header {
	__u16 type;
	__u16 version;
	__u32 size; /* bytes, this header included */
	__u64 time; /* ns, CLOCK_MONOTONIC */
};

/* A network namespace. cookie is 0 where the kernel has not given one (before 5.12). */
struct netns_id {
	__u64 cookie;
	__u32 inum;
	__u32 pad;
};

/* A thread, in the numbers of the initial pid namespace. */
struct thread_id {
	__u32 tgid;
	__u32 tid;
	__u64 start; /* ns, CLOCK_BOOTTIME */
	char comm[TASK_COMM_LEN];
};

/* Return addresses, innermost first. A negative length is the kernel's -errno. */
struct stacks {
	__s32 kernel_bytes;
	__s32 user_bytes;
	__u64 kernel[STACK_DEPTH];
	__u64 user[STACK_DEPTH];
};

struct netns_switch_record {
	struct record_header header;
	struct thread_id thread;
	struct netns_id home;
	struct netns_id from;
	struct netns_id to;
	__u32 nr_threads;
	__u32 clones; /* threads cloned in the window that this switch ends */
	struct stacks stacks;
};

struct thread_clone_record {
	struct record_header header;
	struct thread_id parent;
	struct thread_id child;
	struct netns_id home;
	struct netns_id away;
	__u64 left_home; /* ns, CLOCK_MONOTONIC: when the parent left; 0 when not seen */
	__u32 nr_threads; /* of the process, the child not counted */
	__u32 left_alone; /* 1: the process had one thread when the parent left home */
	struct stacks stacks;
};

struct thread_exit_record {
	struct record_header header;
	struct thread_id thread;
	struct netns_id netns;
	__u64 sockets; /* what it did there, as in stranded_call_record */
	__u64 connects;
	__u64 failures;
};

struct thread_seen_record {
	struct record_header header;
	struct thread_id thread;
	struct netns_id home;
	struct netns_id netns;
	__u32 nr_threads;
	__u32 pad;
};

struct process_record { /* PROCESS_SEEN, PROCESS_EXEC, PROCESS_EXIT */
	struct record_header header;
	struct thread_id leader;
	struct netns_id netns;
	__u32 nr_threads;
	__u32 named; /* 1: chosen by the user; 0: one of all processes */
};

enum stranded_call {
	CALL_SOCKET = 1,
	CALL_CONNECT = 2,
};

struct stranded_call_record {
	struct record_header header;
	struct thread_id thread;
	struct netns_id netns;
	__u32 call; /* enum stranded_call */
	__s32 result; /* 0 or more, or -errno */
	__u64 sockets;  /* all calls of this thread since it was left behind, */
	__u64 connects; /* also those that the rate limit kept out of the ring */
	__u64 failures;
	__u32 family;
	__u32 socket_type;
	__u32 protocol;
	__u32 address_bytes;
	__u8 address[32]; /* struct sockaddr as the caller passed it, cut at 32 bytes */
};

struct dev_wait_record { /* DEV_WAIT and DEV_FREE */
	struct record_header header;
	__u64 dev; /* address of the net_device */
	__u64 since; /* ns, CLOCK_MONOTONIC: NETDEV_UNREGISTER first sent; 0 when not seen */
	struct netns_id netns;
	__s32 refcount; /* as the kernel would print it */
	__u32 refcount_known;
	__s32 ifindex;
	__u32 pad;
	char name[IFNAMSIZ];
};

/* What kind of object holds a reference on a net_device. */
enum holder_family {
	HOLDER_DST = 1,    /* dst_entry: a route in use, or an xfrm bundle */
	HOLDER_NEIGHBOUR,  /* neighbour */
	HOLDER_NEIGH_PARMS, /* neigh_parms */
	HOLDER_IN_DEV,     /* in_device: the device's IPv4 side */
	HOLDER_INET6_DEV,  /* inet6_dev: its IPv6 side */
	HOLDER_NEXTHOP,    /* fib_nh_common: a nexthop of a route, IPv4 or IPv6 */
	HOLDER_PACKET,     /* packet_sock: a packet socket bound to the device */
	HOLDER_QDISC,      /* Qdisc */
	HOLDER_ADJACENCY,  /* netdev_adjacent: a device above or below it */
	HOLDER_RX_QUEUE,   /* netdev_rx_queue in sysfs */
	HOLDER_TX_QUEUE,   /* netdev_queue in sysfs */
	HOLDER_LINKWATCH,  /* a link event that is yet to be handled */
	HOLDER_FAMILIES,
};

struct holder_record {
	struct record_header header;
	__u64 dev;    /* address of the net_device */
	__u64 object; /* address of what holds it */
	__u64 since;  /* ns, CLOCK_MONOTONIC: when the object was made */
	struct thread_id thread; /* that made it */
	__u32 family; /* enum holder_family */
	__s32 stack;  /* id in the map `stacks`, or -1 */
	__s32 object_refs; /* references on the object itself */
	__u32 object_refs_known;
	__u32 address_family; /* of address; 0: there is none */
	__u32 handle;         /* of a qdisc */
	__u8 address[16];     /* a neighbour's address, a nexthop's gateway */
	char text[16];        /* a qdisc's kind, the adjacent device's name */
};

struct console_wait_record {
	struct record_header header;
	__u32 bytes;
	__u32 pad;
	char text[128];
};

struct netns_birth_record {
	struct record_header header;
	struct netns_id netns;
	struct thread_id thread; /* that made it */
};

struct netns_alive_record {
	struct record_header header;
	struct netns_id netns;
	__u32 references; /* on the namespace */
	__u32 in_nsfs; /* 1: a file of it is open or bind-mounted; all of them are one reference */
};

struct netns_list_record {
	struct record_header header;
	__u32 namespaces;
	__u32 whole; /* 0: the list changed meanwhile, so that the way through it was lost */
};

struct netns_task_record {
	struct record_header header;
	struct thread_id thread;
	struct netns_id netns;
	__u64 nsproxy; /* address: threads that share one are one reference */
	__u32 leader_inum; /* the namespace of its process's first thread; 0: that has exited */
	__u32 nr_threads; /* of the process */
};

enum netns_file_kind {
	NETNS_FILE_NSFS = 1, /* a file of the namespace: /proc/PID/ns/net or a bind mount, opened */
	NETNS_FILE_SOCKET, /* a socket */
	NETNS_FILE_TUN, /* /dev/net/tun, whose files have a socket of their own */
	NETNS_FILE_CUT, /* a unix socket with more on its way than is looked at; no namespace */
};

struct netns_file_record {
	struct record_header header;
	struct thread_id thread; /* whose table of descriptors has it, or has its carrier */
	struct netns_id netns;
	__u64 object; /* address of the sock, or of the namespace */
	__u64 inode; /* of the file */
	__u64 carrier; /* inode of the unix socket that has it in a message; 0: it is a descriptor */
	__u32 fd; /* of the file, or of its carrier */
	__u32 kind; /* enum netns_file_kind */
	__u32 counted; /* 1: it is a reference on the namespace; sockets of the kernel are not */
	__u32 family; /* of a socket: AF_, */
	__u32 socket_type; /* SOCK_, */
	__u32 protocol;
	__u32 state; /* TCP_, which other protocols use too, */
	__u32 waiting; /* and connections that wait to be accepted: each is a reference */
};

struct module_load_record {
	struct record_header header;
	char name[56]; /* MODULE_NAME_LEN on 64-bit */
};

/* Who changed the mark. */
enum csum_by {
	CSUM_BY_VETH = 1, /* veth_xmit() */
	CSUM_BY_TC = 2,   /* a BPF program, by bpf_csum_level(): tc's, or a route's (lwt_xmit) */
};

enum csum_direction {
	CSUM_DIRECTION_UNKNOWN,
	CSUM_INGRESS, /* the packet was coming in by the device */
	CSUM_EGRESS,  /* going out */
};

/* What adding up a packet's checksum led to. */
enum csum_verdict {
	CSUM_GOOD,
	CSUM_CORRUPT,
	CSUM_NO_CHECKSUM, /* UDP with a checksum of 0 */
	CSUM_GSO,         /* a packet that is yet to be cut: it has none of its own */
	CSUM_FRAGMENT,    /* of an IP packet, whose checksum covers all of them */
	CSUM_PROTOCOL,    /* none that is known here */
	CSUM_NONLINEAR,   /* in memory that could not be found */
	CSUM_TRUNCATED,   /* shorter than its headers say, or not readable */
	CSUM_UNCHECKED,   /* over the limit, or not one of those to be checked */
	CSUM_VERDICTS,
};

/* Index of the counts: skb->ip_summed before and after, each 0 to 3. */
#define CSUM_TRANSITION(from, to) ((from) * 4 + (to))
#define CSUM_TRANSITIONS 16

struct csum_device {
	struct netns_id netns; /* of the device that the packet was sent on */
	struct netns_id peer_netns;
	__u64 packets; /* NONE to UNNECESSARY on this device since tracing started */
	__s32 ifindex;
	__s32 peer_ifindex; /* 0: there is no peer (CSUM_BY_TC) */
	char name[IFNAMSIZ];
	char peer_name[IFNAMSIZ];
	__u32 by;        /* enum csum_by */
	__u32 direction; /* enum csum_direction */
	__u32 birth;     /* of netns: tells apart those that had the same inum */
	__u32 pad;
};

struct csum_counts {
	__u64 transitions[CSUM_TRANSITIONS];
	__u64 verdicts[CSUM_VERDICTS]; /* of the packets NONE to UNNECESSARY: their sum is `packets` */
};

struct csum_rewrite_record {
	struct record_header header;
	struct csum_device device;
	struct csum_counts counts;
};

#define CSUM_PACKET_BYTES 128

struct csum_corrupt_record {
	struct record_header header;
	struct csum_device device;
	__u64 corrupt; /* packets so far, also those that no record was made for */
	__u32 packet_bytes;
	__u32 captured_bytes;
	__u32 family; /* AF_INET or AF_INET6 */
	__u32 protocol;
	__u32 tags; /* VLAN tags in the packet */
	__u16 found; /* checksums, as numbers */
	__u16 expected;
	__u16 source_port; /* 0 for ICMP and ICMPv6 */
	__u16 destination_port;
	__u32 pad;
	__u8 source[16]; /* IPv4 in the first four */
	__u8 destination[16];
	__u8 packet[CSUM_PACKET_BYTES]; /* from the Ethernet header on */
};

/* Whose dst_ops: those of one namespace, or those that all namespaces share. */
enum dst_ops_kind {
	DST_OPS_OTHER, /* none of the following */
	DST_OPS_IPV4,  /* ipv4_dst_ops, of all namespaces */
	DST_OPS_IPV6,  /* net->ipv6.ip6_dst_ops */
	DST_OPS_XFRM4, /* net->xfrm.xfrm4_dst_ops */
	DST_OPS_XFRM6, /* net->xfrm.xfrm6_dst_ops */
};

enum dst_crossing_cause {
	DST_OTHER_OPS = 1, /* dst->ops is not what it was */
	DST_NETNS_GONE,    /* the memory of dst->ops is no longer that namespace's */
	DST_FLAGS_CHANGED, /* DST_NOCOUNT came or went */
};

struct dst_failure {
	__u64 ops; /* address of the dst_ops */
	struct netns_id netns; /* of the dst_ops; where all share them, of the device */
	__u64 count; /* failures of these since tracing started */
	__s64 entries; /* of the dst_ops' counter */
	__u32 gc_thresh; /* 0: there is no collector */
	__u32 may_refuse; /* 1: there is a collector that may refuse this entry */
	__u32 kind; /* enum dst_ops_kind */
	__u32 family;
	__s32 ifindex; /* 0: no device was given */
	__u32 counted; /* 1: entries could be read */
	char name[IFNAMSIZ];
	__s32 limit; /* with may_refuse: entries above which the collector refuses */
	__u32 limit_known;
};

struct dst_failure_record {
	struct record_header header;
	struct dst_failure failure;
	struct thread_id thread; /* on whose time it happened */
	struct stacks stacks;
};

struct dst_crossing {
	__u64 from_ops;
	__u64 to_ops;
	struct netns_id from; /* 0: shared by all namespaces, or gone */
	struct netns_id to;
	__u64 count; /* since tracing started */
	__u32 cause; /* enum dst_crossing_cause */
	__u32 from_kind; /* enum dst_ops_kind */
	__u32 to_kind;
	__u32 from_family;
	__u32 to_family;
	__u32 nocount; /* 1: the entry was DST_NOCOUNT when released */
};

struct dst_crossing_record {
	struct record_header header;
	struct dst_crossing crossing;
};

#endif
