/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which objects are followed: one in a power of two, by a hash of the address, so that
 * the making and the freeing of one object are both seen or neither.
 *
 * The rate may change while objects are followed. A beginning goes by the rate of now.
 * An end goes by the densest that there was: whatever may be in the table is looked for
 * there. Rates are powers of two, so that all of a sparse one are in each denser one.
 */
#ifndef NETNS_TRACE_SAMPLING_H
#define NETNS_TRACE_SAMPLING_H

#include "emit.h"

/* Of each, N - 1 for one in N. A section of their own: user space writes it whole. */
__u32 sample_made SEC(".data.sampling") = 0;
__u32 sample_gone SEC(".data.sampling") = 0;

/*
 * What is followed is an object, or a pair of objects. Their addresses are read from the
 * stack: the verifier forbids arithmetic with an address whose type it knows, and what a
 * helper has written is a number. Then the high bits of a product, which all bits of the
 * addresses go into.
 */
static __always_inline bool sampled_by(__u32 mask, __u64 object, __u64 of)
{
	__u64 address[2] = { object, of }, number[2];

	if (!mask)
		return true;
	if (bpf_probe_read_kernel(number, sizeof(number), address))
		return true; /* it cannot fail */
	return !((__u32)((number[0] + number[1]) * 0x9e3779b97f4a7c15ULL >> 48) & mask);
}

/* Whether an object that is made now is to be followed. */
static __always_inline bool to_be_followed(__u64 object, __u64 of)
{
	return sampled_by(sample_made, object, of);
}

/* Whether an object that ends now may have been. */
static __always_inline bool may_be_followed(__u64 object, __u64 of)
{
	return sampled_by(sample_gone, object, of);
}

#endif
