// SPDX-License-Identifier: GPL-2.0-only
/*
 * refs: the ledger, every dev_hold() and dev_put() of every net_device.
 *
 * Both are inlined everywhere; what is left of each is one instruction that adds 1
 * to or takes 1 from a per-CPU counter. User space finds these instructions, the
 * sites, and puts the one program here on all of them, or close to them. At a site the
 * only thing that is sure to be at hand is that per-CPU pointer, in a register; so it is
 * by that pointer that devices are known here.
 *
 * Holds and puts are counted for each device and site, without loss as long as
 * there is room for the device. Call traces are kept beside, as far as they can be
 * paid for.
 */
#include "net_device.h"
#include "ledger_site.h"
#include "ledger_device.h"
#include "ledger_trace.h"
#include "ledger_read.h"

/* Sites that a ledger has room for. */
const volatile __u32 site_room;
/* Keep a ledger only for devices that are given this name when they are made. */
const volatile bool restricted;
const volatile char only_name[IFNAMSIZ];

static __always_inline bool wanted(__u64 dev)
{
	char name[IFNAMSIZ] = {};

	if (!restricted)
		return true;
	if (!dev)
		return false;
	bpf_probe_read_kernel(name, sizeof(name), (void *)dev + bpf_core_field_offset(struct net_device, name));
	for (int i = 0; i < IFNAMSIZ; i++) {
		if (name[i] != only_name[i])
			return false;
		if (!name[i])
			break;
	}
	return true;
}

/*
 * The device, if it is in some register, as at most sites it still is: it tells
 * itself by its counter.
 */
static __always_inline __u64 find_device(struct pt_regs *ctx, __u64 counter)
{
	__u64 dev = 0;

#pragma unroll
	for (int i = 0; i < 16; i++) {
		__u64 maybe = register_of(ctx, i);

		if (!dev && maybe && counter_of(maybe) == counter)
			dev = maybe;
	}
	return dev;
}

SEC("kprobe")
int site_kprobe(struct pt_regs *ctx)
{
	/* A kprobe's handler runs as if after the breakpoint, which is one byte long. */
	__u64 address = PT_REGS_IP(ctx) - 1;
	struct site *site = find_site(address);
	struct ledger *l;
	__u64 counter = 0, dev = 0, before = 0;

	if (!site) {
		count_loss(LOSS_SITE_UNKNOWN);
		return 0;
	}
	if (site->flags & SITE_DEVICE) {
		dev = register_of(ctx, site->reg);
		l = ledger_of_device(dev, &counter);
	} else {
		counter = register_of(ctx, site->reg);
		l = ledger_of(counter);
	}
	if (!l || !l->dev) { /* it was there before us, and nobody told us of it */
		if (!dev)
			dev = find_device(ctx, counter);
		if (!l && wanted(dev))
			l = begin(counter, dev);
		if (!l)
			return 0;
		l->dev = dev;
	}
	__sync_fetch_and_add(&l->balance, site->flags & SITE_PUT ? -1 : 1);
	if (site->id < site_room) {
		before = l->hits[site->id];
		__sync_fetch_and_add(&l->hits[site->id], 1);
	}
	/* Without a stack of its own only the first is told of; all others are in its count. */
	if (!before || !too_soon(site))
		keep_trace(ctx, l->generation, site, before);
	return 0;
}

/* Since 5.13 it has one reference by now, of itself. */
static __always_inline int allocated(struct net_device *dev)
{
	struct ledger *l;
	__u64 counter;

	if (!dev || !wanted((__u64)dev))
		return 0;
	counter = counter_of((__u64)dev);
	end(counter); /* of one whose end was missed */
	l = begin(counter, (__u64)dev);
	if (!l || !complete())
		return 0;
	l->settled = add_per_cpu(counter, &l->before);
	return 0;
}

static __always_inline int freed(bool in_place, struct net_device *dev)
{
	if (will_be_freed(in_place, dev))
		end(counter_of((__u64)dev));
	return 0;
}

SEC("fexit/alloc_netdev_mqs")
int BPF_PROG(allocated_fexit, int size, const char *name, unsigned char assigned, void *setup,
	     unsigned int txqs, unsigned int rxqs, struct net_device *dev)
{
	return allocated(dev);
}

SEC("kretprobe/alloc_netdev_mqs")
int BPF_KRETPROBE(allocated_kretprobe, struct net_device *dev)
{
	return allocated(dev);
}

SEC("fentry/free_netdev")
int BPF_PROG(unallocated_fentry, struct net_device *dev)
{
	return freed(IN_PLACE, dev);
}

SEC("kprobe/free_netdev")
int BPF_KPROBE(unallocated_kprobe, struct net_device *dev)
{
	return freed(PROBED, dev);
}

/* What follows it, as many __u64 as `sites` says, is how often each site was hit. */
struct ref_look {
	__u64 counter;     /* the per-CPU pointer, by which sites know the device */
	__u64 generation;  /* another device that gets this pointer has another */
	__u64 dev;         /* 0: not known, and all that is read from it neither */
	__s64 before;      /* references that it had before they were counted */
	__s64 balance;     /* holds less puts since then */
	__s64 count;       /* the kernel's own, read at this time */
	struct netns_id netns;
	__s32 ifindex;
	__u32 reg_state;
	__u32 counted;     /* 1: count could be read, and nothing was hit meanwhile */
	__u32 settled;     /* 1: before is known */
	__u32 sites;
	__u32 pad;
	char name[IFNAMSIZ];
};

static __always_inline void describe_device(struct ref_look *r, struct net_device *dev)
{
	r->dev = (__u64)dev;
	if (counter_of(r->dev) != r->counter) { /* freed, and we were not told */
		r->dev = 0;
		return;
	}
	read_netns(&r->netns, BPF_CORE_READ(dev, nd_net.net));
	r->ifindex = BPF_CORE_READ(dev, ifindex);
	r->reg_state = reg_state(PROBED, dev);
	BPF_CORE_READ_INTO(&r->name, dev, name);
}

/*
 * Tells all ledgers, each with the kernel's own count at that time. What a device had
 * before it was counted follows from the first look at which everything is watched.
 */
SEC("iter/bpf_map_elem")
int ledgers_iter(struct bpf_iter__bpf_map_elem *ctx)
{
	struct ref_look r = {};
	struct ledger *l = ctx->value;
	__s64 before;

	if (!l || !l->counter)
		return 0;
	r.counter = l->counter;
	r.generation = l->generation;
	before = l->balance;
	r.counted = add_per_cpu(r.counter, &r.count);
	r.balance = l->balance;
	if (r.balance != before)
		r.counted = 0;
	if (r.counted && complete() && !l->settled) {
		l->before = r.count - r.balance;
		l->settled = 1;
	}
	r.before = l->before;
	r.settled = l->settled;
	r.sites = site_room;
	if (l->dev)
		describe_device(&r, (void *)l->dev);
	bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	bpf_seq_write(ctx->meta->seq, l->hits, site_room * sizeof(__u64));
	return 0;
}
