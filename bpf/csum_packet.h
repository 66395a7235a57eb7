/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One packet while it is looked at, and its bytes.
 */
#ifndef NETNS_TRACE_CSUM_PACKET_H
#define NETNS_TRACE_CSUM_PACKET_H

#include "emit.h"

#define CHUNK 256

/* All that is known while one packet is looked at: one slot a CPU, see csum_verify.h. */
struct check {
	__u64 skb;
	/* what is left to add up */
	__u64 at; /* address of the next byte */
	__u32 here; /* bytes that follow it there */
	__u32 left; /* bytes in all */
	__u32 next_frag;
	__u32 odd; /* the next byte is the second of a 16-bit word */
	__u64 sum;
	/* where the packet is: its linear part, and the fragment that follows it */
	__u64 data;
	__u64 frag;
	__u32 data_bytes;
	__u32 frag_bytes;
	__u32 all; /* bytes of the packet */
	/* what was read */
	__u32 family;
	__u32 protocol;
	__u32 tags;
	__u16 source_port; /* as on the wire, and 0 where there are none */
	__u16 destination_port;
	__u16 found; /* checksums, as on the wire */
	__u16 expected;
	__u8 source[16];
	__u8 destination[16];
	__u64 chunk[CHUNK / 8];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct check);
} checks SEC(".maps");

static __always_inline struct check *this_check(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&checks, &zero);
}

/*
 * 0, or enum csum_verdict. Headers are in the linear part; of frames of a page or more
 * that a packet socket sends only the Ethernet header is, and the next in a fragment.
 */
static __always_inline __u32 read_header(void *to, __u32 bytes, struct check *c, __u32 offset)
{
	__u64 at = c->data + offset;

	if (offset + bytes > c->all)
		return CSUM_TRUNCATED;
	if (offset + bytes > c->data_bytes) {
		if (offset < c->data_bytes || offset - c->data_bytes + bytes > c->frag_bytes)
			return CSUM_NONLINEAR;
		at = c->frag + (offset - c->data_bytes);
	}
	return bpf_probe_read_kernel(to, bytes, (void *)at) ? CSUM_TRUNCATED : 0;
}

#endif
