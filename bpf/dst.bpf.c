// SPDX-License-Identifier: GPL-2.0-only
/*
 * dst: routing cache entries that cannot be allocated, and entries that are
 * charged to one dst_ops and released from another, so that one counter climbs
 * while another sinks.
 *
 * Each counted entry is charged to its dst_ops' ledger when dst_alloc() returns
 * it, and credited in dst_destroy() to the ledger of what dst->ops is by then. The
 * kernel's own counter is compared with the ledger by user space, at rest: since
 * ac888d58869b (6.12, and in stable kernels) it is decremented in dst_release()
 * already, an RCU grace period before dst_destroy().
 */
#include "dst_counter.h"
#include "dst_failure.h"
#include "dst_ledger.h"

#define MAX_ENTRIES 131072 /* user space makes it less where there are few CPUs */
#define MAX_CROSSINGS 2048
#define MAX_CALLS 1024

DESCRIBE(dst_crossing_record);

/* How many parameters dst_alloc() has: 5, or 4 where initial_ref is gone (6.12). */
const volatile __u32 alloc_params;

/* An entry as it was charged. */
struct entry {
	__u64 ops;
	struct owner owner;
	__u64 flags;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENTRIES);
	__type(key, __u64); /* address of the dst_entry */
	__type(value, struct entry);
} entries SEC(".maps");

struct crossing_key {
	__u64 from;
	__u64 to;
	__u32 birth; /* of the namespace of `from` */
	__u32 cause;
};

struct crossing_value {
	__u64 recorded;
	struct dst_crossing crossing;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CROSSINGS);
	__type(key, struct crossing_key);
	__type(value, struct crossing_value);
} crossed_entries SEC(".maps");

struct call {
	__u64 ops;
	__u64 dev;
	__u64 flags;
};

/* What a kretprobe does not see: the arguments. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CALLS);
	__type(key, __u64); /* thread */
	__type(value, struct call);
} alloc_calls SEC(".maps");

static __always_inline void charge(__u64 dst, __u64 ops, __u64 flags)
{
	struct entry e = { .ops = ops, .flags = flags };
	__u64 key = dst;

	if (!count_charged(ops, !(flags & DST_NOCOUNT), &e.owner))
		return;
	if (bpf_map_update_elem(&entries, &key, &e, BPF_ANY))
		count_loss(LOSS_ENTRIES_FULL);
}

/* Never on a healthy host. */
static __noinline int crossed(struct entry *e, __u64 ops, __u32 flags, __u32 cause)
{
	struct crossing_key key = { .from = e->ops, .to = ops, .birth = e->owner.birth, .cause = cause };
	struct dst_crossing_record *r;
	struct crossing_value *v;
	__u64 now = bpf_ktime_get_ns();

	v = bpf_map_lookup_elem(&crossed_entries, &key);
	if (!v) {
		struct crossing_value fresh = {};
		struct dst_crossing *c = &fresh.crossing;
		struct dst_ops *from_ops = (struct dst_ops *)e->ops;
		struct owner to;

		find_owner(&to, ops);
		c->from_ops = e->ops;
		c->to_ops = ops;
		c->cause = cause;
		c->from_kind = e->owner.kind;
		c->to_kind = to.kind;
		c->from_family = BPF_CORE_READ(from_ops, family);
		c->to_family = BPF_CORE_READ((struct dst_ops *)ops, family);
		c->nocount = !!(flags & DST_NOCOUNT);
		if (e->owner.net && birth_of(e->owner.net) == e->owner.birth)
			read_netns(&c->from, (struct net *)e->owner.net);
		if (to.net)
			read_netns(&c->to, (struct net *)to.net);
		bpf_map_update_elem(&crossed_entries, &key, &fresh, BPF_NOEXIST);
		v = bpf_map_lookup_elem(&crossed_entries, &key);
		if (!v) {
			count_loss(LOSS_CROSSINGS_FULL);
			return 0;
		}
	}
	__sync_fetch_and_add(&v->crossing.count, 1);
	if (v->recorded && now - v->recorded < SECOND)
		return 0;
	v->recorded = now;
	r = record_begin(dst_crossing_record, RECORD_DST_CROSSING);
	if (!r)
		return 0;
	r->crossing = v->crossing;
	record_end(r);
	return 0;
}

static __always_inline int destroyed(bool in_place, struct dst_entry *dst)
{
	__u64 key = (__u64)dst, ops = (__u64)READ(in_place, dst, ops);
	__u32 flags = READ(in_place, dst, flags);
	struct entry *e = bpf_map_lookup_elem(&entries, &key);

	if (e) {
		bool counted = !(flags & e->flags & DST_NOCOUNT);

		if (counted && e->ops != ops)
			crossed(e, ops, flags, DST_OTHER_OPS);
		else if (counted && e->owner.net && birth_of(e->owner.net) != e->owner.birth)
			crossed(e, ops, flags, DST_NETNS_GONE);
		else if ((flags ^ e->flags) & DST_NOCOUNT)
			crossed(e, ops, flags, DST_FLAGS_CHANGED);
	}
	if (!(flags & DST_NOCOUNT))
		count_credited(ops, !e);
	if (e)
		bpf_map_delete_elem(&entries, &key);
	return 0;
}

/* In assembler, or the compiler computes the address, which the kernel forbids. */
#define context_word(ctx, n)                                                         \
	({                                                                           \
		__u64 word_;                                                         \
		asm volatile("%0 = *(u64 *)(%1 + %2)"                                \
			     : "=r"(word_)                                           \
			     : "r"(ctx), "i"((n) * sizeof(word_)));                  \
		word_;                                                               \
	})

SEC("fexit/dst_alloc")
int alloc_fexit(__u64 *ctx)
{
	__u64 flags, dst;

	/* The result follows the parameters. The kernel knows alloc_params, and does not
	 * look at the branch that is not taken. */
	if (alloc_params == 5) {
		flags = context_word(ctx, 4);
		dst = context_word(ctx, 5);
	} else {
		flags = context_word(ctx, 3);
		dst = context_word(ctx, 4);
	}
	if (dst) /* it has the dst_ops and the flags that dst_alloc() was called with */
		charge(dst, ctx[0], flags);
	else
		failed(ctx, ctx[0], ctx[1], flags);
	return 0;
}

SEC("kprobe/dst_alloc")
int alloc_kprobe(struct pt_regs *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct call c = { .ops = PT_REGS_PARM1(ctx), .dev = PT_REGS_PARM2(ctx) };

	c.flags = alloc_params == 5 ? PT_REGS_PARM5_CORE(ctx) : PT_REGS_PARM4_CORE(ctx);
	if (bpf_map_update_elem(&alloc_calls, &thread, &c, BPF_ANY))
		count_loss(LOSS_FAILURES_FULL);
	return 0;
}

SEC("kretprobe/dst_alloc")
int alloc_kretprobe(struct pt_regs *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid(), dst = PT_REGS_RC(ctx);
	struct call *c = bpf_map_lookup_elem(&alloc_calls, &thread);

	if (dst) {
		struct dst_entry *entry = (struct dst_entry *)dst;

		charge(dst, (__u64)BPF_CORE_READ(entry, ops), BPF_CORE_READ(entry, flags));
	} else if (c) {
		failed(ctx, c->ops, c->dev, c->flags);
	}
	bpf_map_delete_elem(&alloc_calls, &thread);
	return 0;
}

SEC("fentry/dst_destroy")
int BPF_PROG(destroy_fentry, struct dst_entry *dst)
{
	return destroyed(IN_PLACE, dst);
}

SEC("kprobe/dst_destroy")
int BPF_KPROBE(destroy_kprobe, struct dst_entry *dst)
{
	return destroyed(PROBED, dst);
}

/* What one look finds of a dst_ops: read by pkg/probe, from the iterator's file. */
struct dst_look {
	__u64 ops;
	struct netns_id netns;
	__u64 charged;
	__u64 credited;
	__u64 strangers;
	__s64 entries;
	__u64 counters; /* address of the per-CPU part of the counter */
	__u32 birth;
	__u32 kind;
	__u32 family;
	__u32 gc_thresh;
	__u32 has_gc;
	__u32 state;
};

enum look_state {
	LOOK_FINE,
	LOOK_GONE,   /* its namespace is no more */
	LOOK_UNREAD, /* the counter could not be read */
};

/* A look, see in_turn(): which it is, its first ledger, the next one's, per-CPU parts read. */
__u64 look_session;
__u64 look_first;
__u64 look_next;
__u64 look_cpus;

/*
 * A look reads at most so many per-CPU parts of counters, each by two reads: 512
 * ledgers on 64 CPUs. The next begins where there was no room; a ledger that is
 * created or deleted meanwhile moves others by one.
 */
#define MAX_LOOK_CPUS 32768

static __always_inline bool in_turn(struct bpf_iter_meta *meta)
{
	if (look_session != meta->session_id) {
		look_session = meta->session_id;
		look_first = look_next;
		look_next = 0;
		look_cpus = 0;
	}
	if (meta->seq_num < look_first || look_next)
		return false;
	if (look_cpus && look_cpus + cpus > MAX_LOOK_CPUS) {
		look_next = meta->seq_num;
		return false;
	}
	return true;
}

/*
 * Compares in one go, so that ledger and counter are as of one time. A dst_ops at
 * which nothing happens is told of in four looks, so that it can be seen to rest,
 * and then only in every eighth: its counter may change without its ledger.
 */
SEC("iter/bpf_map_elem")
int look_iter(struct bpf_iter__bpf_map_elem *ctx)
{
	struct ledger *l = ctx->value;
	__u64 *key = ctx->key;
	struct dst_look look = {};
	struct dst_ops *ops;

	if (!key || !l || !in_turn(ctx->meta))
		return 0;
	if (is_ipv4(*key)) {
		l->charged = ipv4.charged;
		l->credited = ipv4.credited;
		l->strangers = ipv4.strangers;
	}
	if (l->charged != l->charged_then || l->credited != l->credited_then)
		l->quiet = 0;
	else
		l->quiet++;
	if (l->quiet > 4 && l->quiet & 7)
		return 0;
	look_cpus += cpus;
	look.ops = *key;
	ops = (struct dst_ops *)look.ops;
	look.netns.cookie = l->netns.cookie;
	look.netns.inum = l->netns.inum;
	look.birth = l->owner.birth;
	look.kind = l->owner.kind;
	look.charged = l->charged;
	look.credited = l->credited;
	look.strangers = l->strangers;
	look.family = BPF_CORE_READ(ops, family);
	look.gc_thresh = BPF_CORE_READ(ops, gc_thresh);
	look.has_gc = BPF_CORE_READ(ops, gc) != NULL;
	look.counters = (__u64)BPF_CORE_READ(ops, pcpuc_entries.counters);
	if (!read_entries(ops, &look.entries))
		look.state = LOOK_UNREAD;
	if (!look.counters || (l->owner.net && birth_of(l->owner.net) != l->owner.birth))
		look.state = LOOK_GONE;
	if (look.entries != l->entries_then)
		l->quiet = 0;
	l->charged_then = look.charged;
	l->credited_then = look.credited;
	l->entries_then = look.entries;
	bpf_seq_write(ctx->meta->seq, &look, sizeof(look));
	return 0;
}
