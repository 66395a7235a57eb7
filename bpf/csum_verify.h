/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Adds up the checksum of a packet, as its receiver should have.
 *
 * The verifier of 5.10 is the limit: no bpf_loop() (5.17), a million instructions,
 * 512 bytes of stack. So the work is cut into functions that are global, which the
 * verifier goes through once and not once for each turn of a loop. Before 5.12
 * (e5069b9c23b3) such a function cannot take pointers: all state is in one slot a CPU.
 */
#ifndef NETNS_TRACE_CSUM_VERIFY_H
#define NETNS_TRACE_CSUM_VERIFY_H

#include "csum_headers.h"

/*
 * 64 KB in chunks; and of the linear part and each of at most 45 fragments
 * (MAX_SKB_FRAGS) a short end, and a step that goes on to the next.
 */
#define MAX_STEPS (65536 / CHUNK + 2 * 46)

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/*
 * Adds up the next bytes, at most CHUNK of them. Returns 0 when all are done, 1 when
 * there are more, -1 - enum csum_verdict when they cannot be read.
 */
__noinline int csum_step(void)
{
	struct check *c = this_check();
	__u64 sum = 0, n; /* 64 bits: 5.10 forgets the bound of a 32-bit n */
	__u32 folded;

	if (!c)
		return -1 - CSUM_TRUNCATED;
	if (!c->left)
		return 0;
	if (!c->here)
		return next_fragment(c) ? 1 : -1 - CSUM_NONLINEAR;
	n = c->here < c->left ? c->here : c->left;
	if (n < CHUNK)
		__builtin_memset(c->chunk, 0, sizeof(c->chunk));
	else
		n = CHUNK;
	/* The compiler must not know the bound, or the verifier will not. */
	asm volatile("" : "+r"(n));
	if (n > CHUNK || bpf_probe_read_kernel(c->chunk, n, (void *)c->at))
		return -1 - CSUM_TRUNCATED;
	for (int i = 0; i < CHUNK / 8; i++)
		sum += (c->chunk[i] & 0xffffffff) + (c->chunk[i] >> 32);
	folded = fold(sum);
	if (c->odd)
		folded = (folded & 0xff) << 8 | folded >> 8;
	c->sum += folded;
	c->odd ^= n & 1;
	c->at += n;
	c->here -= n;
	c->left -= n;
	return c->left ? 1 : 0;
}

/* Returns enum csum_verdict; what it rests on is in c. */
static __always_inline __u32 verify_checksum(struct check *c, struct sk_buff *skb)
{
	int verdict, more = 1;
	__u16 rest;

	c->skb = (__u64)skb;
	verdict = csum_parse();
	if (verdict)
		return verdict;
	for (int i = 0; i < MAX_STEPS && more > 0; i++)
		more = csum_step();
	if (more)
		return more < 0 ? -1 - more : CSUM_TRUNCATED;
	/* In ones' complement x and ~x are all ones together, and ~x takes x away. */
	rest = fold(c->sum + (__u16)~c->found);
	c->expected = ~rest;
	if (c->protocol == IPPROTO_UDP && !c->expected)
		c->expected = 0xffff;
	return fold(c->sum) == 0xffff ? CSUM_GOOD : CSUM_CORRUPT;
}

#endif
