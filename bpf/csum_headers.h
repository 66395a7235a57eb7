/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Finds in a packet what its transport checksum covers.
 */
#ifndef NETNS_TRACE_CSUM_HEADERS_H
#define NETNS_TRACE_CSUM_HEADERS_H

#include "csum_packet.h"

#include <bpf/bpf_endian.h>

#define MAX_TAGS 4
#define MAX_EXTENSIONS 6
#define MAX_OPTIONS 40 /* all that an IPv4 header has room for */

/* Options after which the checksum covers another address than the header's. */
enum {
	IPV4_LOOSE_ROUTE = 131,
	IPV4_STRICT_ROUTE = 137,
	IPV6_HOME_ADDRESS = 201,
};

/* Addresses of the variables with these bases, from kallsyms; 0: pages cannot be found. */
const volatile __u64 page_offset_base_at;
const volatile __u64 vmemmap_base_at;

/*
 * Looks through the options of an IPv4 header, or of IPv6 destination options. Returns
 * 0, or enum csum_verdict. Global for the verifier, see csum_verify.h; and where it is
 * is kept in c->here, so that the verifier need not tell apart the ways there.
 */
__noinline int csum_options(__u32 offset, __u32 bytes)
{
	struct check *c = this_check();

	if (!c)
		return CSUM_TRUNCATED;
	*(volatile __u32 *)&c->here = 0;
	for (int i = 0; i < MAX_OPTIONS; i++) {
		__u32 at = *(volatile __u32 *)&c->here, verdict;
		struct {
			__u8 kind;
			__u8 length;
		} option;

		if (at >= bytes)
			return 0;
		/* One of a single byte may be the last: what follows is then the transport's. */
		verdict = read_header(&option, sizeof(option), c, offset + at);
		if (verdict)
			return verdict;
		if (c->family == AF_INET) {
			if (!option.kind) /* the end */
				return 0;
			if (option.kind == IPV4_LOOSE_ROUTE || option.kind == IPV4_STRICT_ROUTE)
				return CSUM_PROTOCOL;
			if (option.kind == 1) /* no operation */
				option.length = 1;
			if (!option.length)
				return CSUM_TRUNCATED;
			at += option.length;
		} else {
			if (option.kind == IPV6_HOME_ADDRESS)
				return CSUM_PROTOCOL;
			at += option.kind ? 2 + option.length : 1; /* 0: one byte of padding */
		}
		*(volatile __u32 *)&c->here = at;
	}
	return *(volatile __u32 *)&c->here < bytes ? CSUM_PROTOCOL : 0;
}

static __always_inline __u64 sum_address(const __u8 *address, int bytes)
{
	const __u32 *words = (const __u32 *)address;
	__u64 sum = 0;

	for (int i = 0; i < bytes / 4; i++)
		sum += words[i];
	return sum;
}

static __always_inline __u32 parse_ipv4(struct check *c, __u32 *offset, __u32 *bytes)
{
	struct {
		__u8 version_length;
		__u8 tos;
		__be16 bytes;
		__be16 id;
		__be16 fragment;
		__u8 ttl;
		__u8 protocol;
		__u16 checksum;
		__u8 source[4];
		__u8 destination[4];
	} ip;
	__u32 verdict = read_header(&ip, sizeof(ip), c, *offset);
	__u32 length, all;

	if (verdict)
		return verdict;
	length = (ip.version_length & 15) * 4;
	all = bpf_ntohs(ip.bytes);
	if (ip.version_length >> 4 != 4)
		return CSUM_PROTOCOL;
	if (length < sizeof(ip) || all < length || *offset + all > c->all)
		return CSUM_TRUNCATED;
	if (ip.fragment & bpf_htons(0x3fff)) /* more fragments, or not the first */
		return CSUM_FRAGMENT;
	c->family = AF_INET;
	c->protocol = ip.protocol;
	__builtin_memcpy(c->source, ip.source, sizeof(ip.source));
	__builtin_memcpy(c->destination, ip.destination, sizeof(ip.destination));
	c->sum = sum_address(ip.source, 4) + sum_address(ip.destination, 4);
	if (length > sizeof(ip)) {
		verdict = csum_options(*offset + sizeof(ip), length - sizeof(ip));
		if (verdict)
			return verdict;
	}
	*offset += length;
	*bytes = all - length;
	return 0;
}

static __always_inline __u32 parse_ipv6(struct check *c, __u32 *offset, __u32 *bytes)
{
	struct {
		__u8 version_class;
		__u8 class_label[3];
		__be16 bytes;
		__u8 protocol;
		__u8 hops;
		__u8 source[16];
		__u8 destination[16];
	} ip;
	__u32 verdict = read_header(&ip, sizeof(ip), c, *offset);
	__u32 left;

	if (verdict)
		return verdict;
	left = bpf_ntohs(ip.bytes);
	if (ip.version_class >> 4 != 6 || !left) /* a length of 0: a jumbogram */
		return CSUM_PROTOCOL;
	*offset += sizeof(ip);
	if (*offset + left > c->all)
		return CSUM_TRUNCATED;
	c->family = AF_INET6;
	__builtin_memcpy(c->source, ip.source, sizeof(ip.source));
	__builtin_memcpy(c->destination, ip.destination, sizeof(ip.destination));
	c->sum = sum_address(ip.source, 16) + sum_address(ip.destination, 16);
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		struct {
			__u8 next;
			__u8 length;
			__u8 kind;
			__u8 segments_left;
		} extension;
		__u32 length;

		c->protocol = ip.protocol;
		*bytes = left;
		if (ip.protocol == IPPROTO_FRAGMENT)
			return CSUM_FRAGMENT;
		if (ip.protocol != IPPROTO_HOPOPTS && ip.protocol != IPPROTO_ROUTING && ip.protocol != IPPROTO_DSTOPTS)
			return 0;
		verdict = read_header(&extension, sizeof(extension), c, *offset);
		if (verdict)
			return verdict;
		/* The checksum then covers the last address of the route, not this one. */
		if (ip.protocol == IPPROTO_ROUTING && extension.segments_left)
			return CSUM_PROTOCOL;
		length = (extension.length + 1) * 8;
		if (length > left)
			return CSUM_TRUNCATED;
		if (ip.protocol == IPPROTO_DSTOPTS) {
			verdict = csum_options(*offset + 2, length - 2);
			if (verdict)
				return verdict;
		}
		*offset += length;
		left -= length;
		ip.protocol = extension.next;
	}
	return CSUM_PROTOCOL;
}

/* What the transport's header says: where its checksum is, and of how many bytes. */
static __always_inline __u32 parse_transport(struct check *c, __u32 offset, __u32 bytes)
{
	__u32 checksum_at, verdict, udp_bytes;
	struct {
		__be16 source_port;
		__be16 destination_port;
		__be16 udp_bytes;
		__be16 udp_checksum;
	} head;

	if (bytes < sizeof(head)) /* the shortest of all, ICMP and UDP */
		return CSUM_TRUNCATED;
	verdict = read_header(&head, sizeof(head), c, offset);
	if (verdict)
		return verdict;
	switch (c->protocol) {
	case IPPROTO_TCP:
		checksum_at = 16;
		break;
	case IPPROTO_UDP:
		if (!head.udp_checksum)
			return CSUM_NO_CHECKSUM;
		checksum_at = 6;
		udp_bytes = bpf_ntohs(head.udp_bytes);
		if (udp_bytes < sizeof(head) || udp_bytes > bytes)
			return CSUM_TRUNCATED;
		bytes = udp_bytes;
		break;
	case IPPROTO_ICMP:
		if (c->family != AF_INET)
			return CSUM_PROTOCOL;
		checksum_at = 2;
		c->sum = 0; /* it alone does not cover the addresses */
		break;
	case IPPROTO_ICMPV6:
		if (c->family != AF_INET6)
			return CSUM_PROTOCOL;
		checksum_at = 2;
		break;
	default:
		return CSUM_PROTOCOL;
	}
	if (c->protocol == IPPROTO_TCP || c->protocol == IPPROTO_UDP) {
		c->source_port = head.source_port;
		c->destination_port = head.destination_port;
	}
	if (c->protocol != IPPROTO_ICMP)
		c->sum += bpf_htons(c->protocol) + bpf_htons(bytes);
	verdict = read_header(&c->found, sizeof(c->found), c, offset + checksum_at);
	if (verdict)
		return verdict;
	if (checksum_at + sizeof(c->found) > bytes)
		return CSUM_TRUNCATED;
	c->left = bytes;
	if (offset < c->data_bytes) {
		c->at = c->data + offset;
		c->here = c->data_bytes - offset;
		c->next_frag = 0;
	} else {
		c->at = c->frag + (offset - c->data_bytes);
		c->here = c->frag_bytes - (offset - c->data_bytes);
		c->next_frag = 1;
	}
	return 0;
}

/* Goes on to the next page fragment. False where it cannot be found. */
static __always_inline bool next_fragment(struct check *c)
{
	struct sk_buff *skb = (struct sk_buff *)c->skb;
	struct skb_shared_info *shared = (void *)(BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, end));
	__u64 frag, page, page_offset_base = 0, vmemmap_base = 0;
	__u32 offset, bytes;

	if (!page_offset_base_at || !vmemmap_base_at || c->next_frag >= BPF_CORE_READ(shared, nr_frags))
		return false;
	if (bpf_probe_read_kernel(&page_offset_base, sizeof(page_offset_base), (void *)page_offset_base_at) ||
	    bpf_probe_read_kernel(&vmemmap_base, sizeof(vmemmap_base), (void *)vmemmap_base_at))
		return false;
	frag = (__u64)shared + bpf_core_field_offset(shared->frags);
	if (bpf_core_field_exists(struct skb_frag, netmem)) { /* since 6.9 (21d2e6737c97) */
		struct skb_frag *f = (void *)(frag + c->next_frag * bpf_core_type_size(struct skb_frag));

		page = BPF_CORE_READ(f, netmem);
		bytes = BPF_CORE_READ(f, len);
		offset = BPF_CORE_READ(f, offset);
	} else {
		struct bio_vec *f = (void *)(frag + c->next_frag * bpf_core_type_size(struct bio_vec));

		page = (__u64)BPF_CORE_READ(f, bv_page);
		bytes = BPF_CORE_READ(f, bv_len);
		offset = BPF_CORE_READ(f, bv_offset);
	}
	if (page & 1 || page < vmemmap_base) /* memory of a device, which the processor cannot read */
		return false;
	c->next_frag++;
	c->here = bytes;
	c->at = page_offset_base + ((page - vmemmap_base) / bpf_core_type_size(struct page) << 12) + offset;
	return true;
}

/*
 * Finds what is to be added up of this_check()->skb. Returns enum csum_verdict, or 0
 * when it is all there. skb->data is the Ethernet header: see at_ethernet().
 */
__noinline int csum_parse(void)
{
	struct check *c = this_check();
	__u32 offset = 12, bytes = 0, verdict, type;
	struct skb_shared_info *shared;
	struct sk_buff *skb;
	__be16 protocol;

	if (!c)
		return CSUM_TRUNCATED;
	skb = (struct sk_buff *)c->skb;
	c->family = 0;
	c->protocol = 0;
	c->tags = 0;
	c->source_port = 0;
	c->destination_port = 0;
	c->frag_bytes = 0;
	c->next_frag = 0;
	c->odd = 0;
	__builtin_memset(c->source, 0, sizeof(c->source));
	__builtin_memset(c->destination, 0, sizeof(c->destination));
	type = BPF_CORE_READ(skb, dev, type);
	if (type != ARPHRD_ETHER && type != ARPHRD_LOOPBACK)
		return CSUM_PROTOCOL;
	shared = (void *)(BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, end));
	if (BPF_CORE_READ(shared, gso_size))
		return CSUM_GSO;
	if (BPF_CORE_READ(shared, frag_list))
		return CSUM_NONLINEAR;
	c->data = (__u64)BPF_CORE_READ(skb, data);
	c->all = BPF_CORE_READ(skb, len);
	c->data_bytes = c->all - BPF_CORE_READ(skb, data_len);
	if (next_fragment(c)) {
		c->frag = c->at;
		c->frag_bytes = c->here;
	}
	verdict = read_header(&protocol, sizeof(protocol), c, offset);
	if (verdict)
		return verdict;
	offset += sizeof(protocol);
	for (int i = 0; i < MAX_TAGS; i++) {
		if (protocol != bpf_htons(ETH_P_8021Q) && protocol != bpf_htons(ETH_P_8021AD))
			break;
		verdict = read_header(&protocol, sizeof(protocol), c, offset + 2);
		if (verdict)
			return verdict;
		offset += 4;
		c->tags++;
	}
	if (protocol == bpf_htons(ETH_P_IP))
		verdict = parse_ipv4(c, &offset, &bytes);
	else if (protocol == bpf_htons(ETH_P_IPV6))
		verdict = parse_ipv6(c, &offset, &bytes);
	else
		verdict = CSUM_PROTOCOL;
	if (verdict)
		return verdict;
	return parse_transport(c, offset, bytes);
}

#endif
