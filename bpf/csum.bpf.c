// SPDX-License-Identifier: GPL-2.0-only
/*
 * csum: devices that turn CHECKSUM_NONE into CHECKSUM_UNNECESSARY, so that the
 * receiver trusts a checksum that nobody has looked at; and what it would have seen.
 *
 * A packet is looked at when veth_xmit() is entered and again when it is handed to
 * the peer, __dev_forward_skb(): on one CPU, with nothing in between that could
 * send another, so one slot a CPU is enough to remember it by. A BPF program marks a
 * packet with the helper bpf_csum_level(), which is looked at in the same way. Only a
 * packet whose mark changed costs more than that.
 */
#include "csum_device.h"
#include "csum_verify.h"

DESCRIBE(csum_rewrite_record);
DESCRIBE(csum_corrupt_record);

/* One in so many rewritten packets is verified, and no more than so many a second. */
const volatile __u32 verify_every = 1;
const volatile __u32 verify_per_second = 10000;

/* The current second. Processors race for it: the limit holds to within a few packets. */
__u64 verified_since;
__u64 verified;

/*
 * Nothing is counted any more: the process reads the counts, and takes the programs off
 * after that. Asked for only where a packet's mark changed.
 */
__u32 ended SEC(".data.csum") = 0;

/* A packet between the two places. */
struct crossing {
	__u64 skb;
	__u32 ip_summed;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct crossing);
} crossings SEC(".maps"), markings SEC(".maps");

static __always_inline struct crossing *crossing(void *slots)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(slots, &zero);
}

/* The compiler must not think away the bound: the verifier wants to see it. */
static __always_inline void count(__u64 *counts, __u64 index, __u64 bound)
{
	asm volatile("" : "+r"(index));
	if (index < bound)
		__sync_fetch_and_add(&counts[index], 1);
}

/*
 * For fentry, which can read in place. BPF_CORE_READ_BITFIELD chooses among loads of
 * every size, of which jumps remain; the field is in a byte on every kernel seen.
 */
static __always_inline __u32 ip_summed_in_place(struct sk_buff *skb)
{
	__u64 byte;

	if (__CORE_RELO(skb, ip_summed, BYTE_SIZE) != 1)
		return BPF_CORE_READ_BITFIELD(skb, ip_summed);
	byte = *(__u8 *)((void *)skb + __CORE_RELO(skb, ip_summed, BYTE_OFFSET));
	byte <<= __CORE_RELO(skb, ip_summed, LSHIFT_U64);
	return byte >> __CORE_RELO(skb, ip_summed, RSHIFT_U64);
}

static __always_inline bool to_be_verified(struct rewrites *r)
{
	__u64 packets = r->counts.transitions[CSUM_TRANSITION(CHECKSUM_NONE, CHECKSUM_UNNECESSARY)];
	__u64 now = bpf_ktime_get_ns();

	if ((packets - 1) % verify_every)
		return false;
	if (now - verified_since >= NS_PER_SECOND) {
		verified_since = now;
		verified = 0;
	}
	if (verified >= verify_per_second)
		return false;
	__sync_fetch_and_add(&verified, 1);
	return true;
}

/* Copies the first bytes of the packet into c->chunk, which nobody needs any more. */
static __always_inline __u32 capture(struct check *c)
{
	__u64 linear = c->data_bytes, frag = c->frag_bytes; /* 64 bits: as in csum_step() */

	if (linear > CSUM_PACKET_BYTES)
		linear = CSUM_PACKET_BYTES;
	if (frag > CSUM_PACKET_BYTES)
		frag = CSUM_PACKET_BYTES;
	asm volatile("" : "+r"(linear), "+r"(frag)); /* as in count() */
	if (linear > CSUM_PACKET_BYTES || bpf_probe_read_kernel(c->chunk, linear, (void *)c->data))
		return 0;
	if (frag > CSUM_PACKET_BYTES || bpf_probe_read_kernel((__u8 *)c->chunk + linear, frag, (void *)c->frag))
		return linear;
	return linear + frag < CSUM_PACKET_BYTES ? linear + frag : CSUM_PACKET_BYTES;
}

static __always_inline void record_corrupt(struct rewrites *r, struct check *c)
{
	struct csum_corrupt_record *record;

	if (!corrupt_may_be_told(r))
		return;
	record = record_begin(csum_corrupt_record, RECORD_CSUM_CORRUPT);
	if (!record)
		return;
	describe(&record->device, r);
	record->corrupt = r->counts.verdicts[CSUM_CORRUPT];
	record->packet_bytes = c->all;
	record->family = c->family;
	record->protocol = c->protocol;
	record->tags = c->tags;
	record->found = bpf_ntohs(c->found);
	record->expected = bpf_ntohs(c->expected);
	record->source_port = bpf_ntohs(c->source_port);
	record->destination_port = bpf_ntohs(c->destination_port);
	record->pad = 0;
	__builtin_memcpy(record->source, c->source, sizeof(record->source));
	__builtin_memcpy(record->destination, c->destination, sizeof(record->destination));
	record->captured_bytes = capture(c);
	__builtin_memcpy(record->packet, c->chunk, sizeof(record->packet));
	record_end(record);
}

/*
 * Whether skb->data is the Ethernet header: to tc programs, on both hooks. A program of
 * a route (lwt_xmit) has the helper too, and for it skb->data is the IP header.
 */
static __always_inline bool at_ethernet(struct sk_buff *skb)
{
	__u64 offset = (__u64)BPF_CORE_READ(skb, data) - (__u64)BPF_CORE_READ(skb, head);

	return offset == BPF_CORE_READ(skb, mac_header);
}

/* Rare: on a kernel without the bug, never. */
static __noinline int changed(struct sk_buff *skb, struct net_device *dev, struct net_device *peer,
			      __u32 transition, __u32 by)
{
	__u32 direction = CSUM_EGRESS, verdict = CSUM_UNCHECKED;
	struct check *c = this_check();
	bool ethernet = by == CSUM_BY_VETH || at_ethernet(skb);
	struct rewrites *r;

	if (ended)
		return 0;
	if (by == CSUM_BY_TC) {
		direction = CSUM_DIRECTION_UNKNOWN;
		if (ethernet && bpf_core_field_exists(skb->tc_at_ingress))
			direction = BPF_CORE_READ_BITFIELD_PROBED(skb, tc_at_ingress) ? CSUM_INGRESS : CSUM_EGRESS;
	}
	r = rewrites_of(dev, peer, by, direction);
	if (!r || !c)
		return 0;
	count(r->counts.transitions, transition, CSUM_TRANSITIONS);
	if (transition != CSUM_TRANSITION(CHECKSUM_NONE, CHECKSUM_UNNECESSARY))
		return 0;
	if (!ethernet)
		verdict = CSUM_PROTOCOL;
	else if (to_be_verified(r))
		verdict = verify_checksum(c, skb);
	count(r->counts.verdicts, verdict, CSUM_VERDICTS);
	record_rewrite(r, dev, peer);
	if (verdict == CSUM_CORRUPT)
		record_corrupt(r, c);
	return 0;
}

static __always_inline void remember(struct crossing *c, struct sk_buff *skb, __u32 ip_summed)
{
	c->skb = (__u64)skb;
	c->ip_summed = ip_summed;
}

/*
 * Whether it is the packet that veth is sending. Others forward packets by this
 * function too: bpf_redirect(), ipvlan, netkit.
 */
static __always_inline bool is_crossing(struct crossing *c, struct sk_buff *skb)
{
	if (!c || c->skb != (__u64)skb)
		return false;
	c->skb = 0;
	return true;
}

static __always_inline int handed_over(struct crossing *c, struct net_device *peer, struct sk_buff *skb,
				       __u32 ip_summed)
{
	/* Until the peer has it, skb->dev is the device that it is sent on. */
	if (c->ip_summed != ip_summed)
		changed(skb, BPF_CORE_READ(skb, dev), peer, CSUM_TRANSITION(c->ip_summed & 3, ip_summed & 3), CSUM_BY_VETH);
	return 0;
}

/* The helper's arguments are plain numbers to BTF, so its packet is read by probing. */
static __always_inline int marking(struct sk_buff *skb)
{
	struct crossing *c = crossing(&markings);

	if (c)
		remember(c, skb, BPF_CORE_READ_BITFIELD_PROBED(skb, ip_summed));
	return 0;
}

static __always_inline int marked(void)
{
	struct crossing *c = crossing(&markings);
	struct sk_buff *skb;
	__u32 ip_summed;

	if (!c || !c->skb)
		return 0;
	skb = (struct sk_buff *)c->skb;
	c->skb = 0;
	ip_summed = BPF_CORE_READ_BITFIELD_PROBED(skb, ip_summed);
	if (c->ip_summed != ip_summed)
		changed(skb, BPF_CORE_READ(skb, dev), NULL, CSUM_TRANSITION(c->ip_summed & 3, ip_summed & 3), CSUM_BY_TC);
	return 0;
}

/* Runs for every packet on a veth: nothing is read that is not needed. */
SEC("fentry/veth_xmit")
int BPF_PROG(xmit_fentry, struct sk_buff *skb)
{
	struct crossing *c = crossing(&crossings);

	if (c)
		remember(c, skb, ip_summed_in_place(skb));
	return 0;
}

SEC("kprobe/veth_xmit")
int BPF_KPROBE(xmit_kprobe, struct sk_buff *skb)
{
	struct crossing *c = crossing(&crossings);

	if (c)
		remember(c, skb, BPF_CORE_READ_BITFIELD_PROBED(skb, ip_summed));
	return 0;
}

SEC("fentry/__dev_forward_skb")
int BPF_PROG(forward_fentry, struct net_device *peer, struct sk_buff *skb)
{
	struct crossing *c = crossing(&crossings);

	return is_crossing(c, skb) ? handed_over(c, peer, skb, ip_summed_in_place(skb)) : 0;
}

SEC("kprobe/__dev_forward_skb")
int BPF_KPROBE(forward_kprobe, struct net_device *peer, struct sk_buff *skb)
{
	struct crossing *c = crossing(&crossings);

	return is_crossing(c, skb) ? handed_over(c, peer, skb, BPF_CORE_READ_BITFIELD_PROBED(skb, ip_summed)) : 0;
}

SEC("fentry/bpf_csum_level")
int BPF_PROG(level_fentry, __u64 skb)
{
	return marking((struct sk_buff *)skb);
}

SEC("fexit/bpf_csum_level")
int BPF_PROG(level_fexit)
{
	return marked();
}

SEC("kprobe/bpf_csum_level")
int BPF_KPROBE(level_kprobe, __u64 skb)
{
	return marking((struct sk_buff *)skb);
}

SEC("kretprobe/bpf_csum_level")
int BPF_KRETPROBE(level_kretprobe)
{
	return marked();
}
