/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A site: an instruction that takes or drops a reference of a net_device. At it the
 * address of the device's per-CPU counter is in a register; at the load of that address
 * just before it, where the probe may be instead (--jump-sites), it is the device's own;
 * and a little behind it, where a probe stays a breakpoint, one of the two.
 */
#ifndef NETNS_TRACE_LEDGER_SITE_H
#define NETNS_TRACE_LEDGER_SITE_H

#include "emit.h"

#define MAX_SITES 4096
#define MAX_SLOTS 65536
#define SLOT_TRIES 4
#define SLOT_FACTOR 0x9e3779b97f4a7c15ULL

#define SITE_PUT 1
#define SITE_GETTER 2 /* the reference is the caller's */
#define SITE_DEVICE 4 /* the register has the device */

struct site {
	__u64 address; /* of the probe */
	__u32 id; /* index of its count in a ledger */
	__u8 reg; /* number of the register in x86-64 instructions */
	__s8 ahead; /* bytes from the probe to the site; below 0: the probe is behind it */
	__u16 flags;
	__u64 stacked; /* ns, when a call trace was last taken here */
	__u64 refused; /* jiffies, when one could last not be paid for */
};

/*
 * The sites, each in one of the SLOT_TRIES slots from that which its address gives. The
 * lookup of an array is compiled in place: a hash map's takes 110 instructions, as much
 * as all else that is always done for a hit.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SLOTS); /* user space makes it 16 to 32 times the sites */
	__type(key, __u32);
	__type(value, struct site);
} ref_sites SEC(".maps");

/* What a slot's number leaves of 64 bits. */
const volatile __u32 slot_shift;

static __always_inline struct site *find_site(__u64 address)
{
	__u32 slot = (address * SLOT_FACTOR) >> slot_shift;
	struct site *site;

#pragma unroll
	for (int i = 0; i < SLOT_TRIES; i++, slot++) {
		site = bpf_map_lookup_elem(&ref_sites, &slot);
		if (site && site->address == address)
			return site;
	}
	return NULL;
}

#if defined(__TARGET_ARCH_x86)
/*
 * The empty assembly, another for each register, keeps the compiler from making one
 * load with a computed offset of all: the verifier forbids that for the context.
 */
#define REGISTER(number, field)                        \
	case number:                                   \
		value = ctx->field;                    \
		asm volatile("# " #field : "+r"(value)); \
		break

/* A register by its number in x86-64 instructions; the stack pointer is none of use. */
static __always_inline __u64 register_of(struct pt_regs *ctx, __u32 number)
{
	__u64 value = 0;

	switch (number) {
		REGISTER(0, ax);
		REGISTER(1, cx);
		REGISTER(2, dx);
		REGISTER(3, bx);
		REGISTER(5, bp);
		REGISTER(6, si);
		REGISTER(7, di);
		REGISTER(8, r8);
		REGISTER(9, r9);
		REGISTER(10, r10);
		REGISTER(11, r11);
		REGISTER(12, r12);
		REGISTER(13, r13);
		REGISTER(14, r14);
		REGISTER(15, r15);
	}
	return value;
}
#else
/* No sites are found on other machines, so nothing is attached to them. */
static __always_inline __u64 register_of(struct pt_regs *ctx, __u32 number)
{
	return 0;
}
#endif

#endif
