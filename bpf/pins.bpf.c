// SPDX-License-Identifier: GPL-2.0-only
/*
 * pins: which network namespaces there are, and what keeps each alive. Nothing is
 * attached: each program goes through one of the kernel's lists, when it is asked
 * to, and writes what it finds to whoever reads.
 */
#include "emit.h"

DESCRIBE(netns_alive_record);
DESCRIBE(netns_list_record);
DESCRIBE(netns_task_record);
DESCRIBE(netns_file_record);

const volatile __u32 only_inum; /* this namespace; 0: all but the next */
const volatile __u32 skip_inum;

static __always_inline bool wanted(__u32 inum)
{
	return only_inum ? inum == only_inum : inum != skip_inum;
}

#define HEADER(record, record_type)                                              \
	{                                                                        \
		.type = (record_type), .version = RECORD_VERSION,                \
		.size = sizeof(record), .time = bpf_ktime_get_ns(),              \
	}

static __always_inline __u32 references(struct net *net)
{
	struct net___before_5_11 *old = (void *)net;
	struct ns_common___own_count *own = (void *)&net->ns;

	if (bpf_core_field_exists(old->count))
		return BPF_CORE_READ(old, count.refs.counter);
	if (bpf_core_field_exists(own->__ns_ref))
		return BPF_CORE_READ(own, __ns_ref.refs.counter);
	return BPF_CORE_READ(net, ns.count.refs.counter);
}

static __always_inline bool in_nsfs(struct net *net)
{
	struct ns_common___as_number *old = (void *)&net->ns;

	if (bpf_core_field_exists(old->stashed.counter))
		return BPF_CORE_READ(old, stashed.counter);
	return BPF_CORE_READ(net, ns.stashed);
}

/*
 * The way through the list of namespaces. It is gone in pieces, one at each call of
 * the iterator, so that the number of namespaces has no bound. Each piece is under
 * RCU, which keeps what it meets in memory; between two pieces the namespace that is
 * next may be freed, and then the witness below is not itself any more.
 */
#define PIECE 64

static struct {
	struct net *first, *next;
	void *operations; /* what every struct net has at ns.ops */
	__u32 seen;
	__u32 strangers; /* in the ring; one is the list's head */
} way;

static __always_inline struct net *net_of_list(struct list_head *list)
{
	return (void *)list - bpf_core_field_offset(struct net, list);
}

/* Starts where this program's own namespace is: it needs no symbol's address. */
static __always_inline void begin(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	struct net *net = BPF_CORE_READ(task, nsproxy, net_ns);

	way.first = net;
	way.next = net;
	way.operations = BPF_CORE_READ(net, ns.ops);
	way.seen = 0;
	way.strangers = 0;
}

static __always_inline void list_ends(struct seq_file *seq, __u32 seen, bool whole)
{
	struct netns_list_record end = {
		.header = HEADER(end, RECORD_NETNS_LIST),
		.namespaces = seen,
		.whole = whole,
	};

	if (bpf_seq_write(seq, &end, sizeof(end)) == 0)
		way.first = NULL;
}

/* Called for each task, and once more with none: enough pieces, nearly always. */
SEC("iter/task")
int list_iter(struct bpf_iter__task *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	__u32 seen, strangers;
	struct net *net;

	if (!ctx->task)
		return 0;
	if (!way.first) {
		if (ctx->meta->seq_num)
			return 0; /* done with the list, but not with the tasks */
		begin();
	}
	net = way.next;
	seen = way.seen;
	strangers = way.strangers;
	for (int i = 0; i < PIECE; i++) {
		if (BPF_CORE_READ(net, ns.ops) == way.operations) {
			struct netns_alive_record r = { .header = HEADER(r, RECORD_NETNS_ALIVE) };

			read_netns(&r.netns, net);
			r.references = references(net);
			r.in_nsfs = in_nsfs(net);
			/* No room: the call is made again, and all it wrote is taken back. */
			if (bpf_seq_write(seq, &r, sizeof(r)))
				return 0;
			seen++;
		} else {
			strangers++;
		}
		net = net_of_list(BPF_CORE_READ(net, list.next));
		if (net == way.first || strangers > 1) {
			list_ends(seq, seen, net == way.first && strangers == 1);
			return 0;
		}
	}
	way.next = net;
	way.seen = seen;
	way.strangers = strangers;
	return 0;
}

SEC("iter/task")
int tasks_iter(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct netns_task_record r = { .header = HEADER(r, RECORD_NETNS_TASK) };
	struct nsproxy *nsproxy;

	if (!task)
		return 0;
	nsproxy = task->nsproxy;
	if (!nsproxy) /* it is exiting */
		return 0;
	read_netns(&r.netns, nsproxy->net_ns);
	if (!wanted(r.netns.inum))
		return 0;
	read_thread(&r.thread, task);
	r.nsproxy = (__u64)nsproxy;
	r.leader_inum = BPF_CORE_READ(task, group_leader, nsproxy, net_ns, ns.inum);
	r.nr_threads = BPF_CORE_READ(task, signal, nr_threads);
	bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	return 0;
}

static __always_inline void describe_sock(struct netns_file_record *r, struct sock *sk)
{
	read_netns(&r->netns, BPF_CORE_READ(sk, __sk_common.skc_net.net));
	r->object = (__u64)sk;
	r->counted = BPF_CORE_READ_BITFIELD_PROBED(sk, __sk_common.skc_net_refcnt);
	r->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	r->socket_type = BPF_CORE_READ(sk, sk_type);
	r->protocol = BPF_CORE_READ(sk, sk_protocol);
	r->state = BPF_CORE_READ(sk, __sk_common.skc_state);
	r->waiting = 0;
	if (r->state == TCP_LISTEN && (r->family == AF_INET || r->family == AF_INET6))
		r->waiting = BPF_CORE_READ(sk, sk_ack_backlog);
}

static __always_inline bool describe_nsfs(struct netns_file_record *r, struct inode *inode)
{
	struct ns_common *ns = BPF_CORE_READ(inode, i_private);
	char name[4] = {};

	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(ns, ops, name));
	if (name[0] != 'n' || name[1] != 'e' || name[2] != 't')
		return false;
	struct net *net = (void *)ns - bpf_core_field_offset(struct net, ns);

	read_netns(&r->netns, net);
	r->object = (__u64)net;
	r->counted = 0; /* all of a namespace are one reference: see in_nsfs */
	r->family = 0;
	return true;
}

/*
 * Whether the file keeps a network namespace alive. The file may be one that was
 * found in a message, and may be gone: nothing of it is believed but by its magic.
 */
static __noinline bool describe(struct netns_file_record *r, struct file *file)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	__u64 magic = BPF_CORE_READ(inode, i_sb, s_magic);
	struct sock *sk = NULL;

	r->inode = BPF_CORE_READ(inode, i_ino);
	if (magic == NSFS_MAGIC) {
		r->kind = NETNS_FILE_NSFS;
		return describe_nsfs(r, inode);
	}
	if (magic == SOCKFS_MAGIC) {
		struct socket *socket = BPF_CORE_READ(file, private_data);

		r->kind = NETNS_FILE_SOCKET;
		sk = BPF_CORE_READ(socket, sk);
	} else if (BPF_CORE_READ(inode, i_rdev) == TUN_RDEV &&
		   (BPF_CORE_READ(inode, i_mode) & S_IFMT) == S_IFCHR) {
		/* struct tun_file begins with its sock. */
		r->kind = NETNS_FILE_TUN;
		sk = BPF_CORE_READ(file, private_data);
	}
	if (!sk)
		return false;
	describe_sock(r, sk);
	return true;
}

#define MAX_MESSAGES 8
#define MAX_PASSED 8

/* The files that are on their way to a unix socket, in messages that nobody has read. */
static __always_inline void in_messages(struct seq_file *seq, struct netns_file_record *r, struct sock *sk)
{
	struct sk_buff *end = (void *)sk + bpf_core_field_offset(struct sock, sk_receive_queue);
	struct sk_buff *skb = BPF_CORE_READ(sk, sk_receive_queue.next);
	bool cut = true;

	r->carrier = r->inode;
	for (int i = 0; i < MAX_MESSAGES; i++) {
		struct unix_skb_parms *parms;
		struct scm_fp_list *files;
		short count;

		if (!skb || skb == end) {
			cut = false;
			break;
		}
		parms = (void *)skb + bpf_core_field_offset(struct sk_buff, cb);
		files = BPF_CORE_READ(parms, fp);
		count = files ? BPF_CORE_READ(files, count) : 0;
		for (int j = 0; j < MAX_PASSED; j++) {
			struct file *file = NULL;

			if (j >= count)
				break;
			bpf_core_read(&file, sizeof(file), &files->fp[j]);
			if (describe(r, file) && wanted(r->netns.inum))
				bpf_seq_write(seq, r, sizeof(*r));
		}
		if (count > MAX_PASSED)
			break;
		skb = BPF_CORE_READ(skb, next);
	}
	if (cut) {
		r->kind = NETNS_FILE_CUT;
		__builtin_memset(&r->netns, 0, sizeof(r->netns));
		bpf_seq_write(seq, r, sizeof(*r));
	}
}

SEC("iter/task_file")
int files_iter(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct netns_file_record r = { .header = HEADER(r, RECORD_NETNS_FILE) };

	if (!task || !file || task->tgid == self_tgid || !describe(&r, file))
		return 0;
	bool mail = r.kind == NETNS_FILE_SOCKET && r.family == AF_UNIX;

	if (!mail && !wanted(r.netns.inum))
		return 0;
	r.fd = ctx->fd;
	read_thread(&r.thread, task);
	if (wanted(r.netns.inum))
		bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	if (mail)
		in_messages(ctx->meta->seq, &r, (struct sock *)r.object);
	return 0;
}
