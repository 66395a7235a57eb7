// SPDX-License-Identifier: GPL-2.0-only
/*
 * csum: veth devices that turn CHECKSUM_NONE into CHECKSUM_UNNECESSARY, so that
 * the receiver trusts a checksum that nobody has looked at.
 *
 * A packet is looked at when veth_xmit() is entered and again when it is handed to
 * the peer, __dev_forward_skb(): on one CPU, with nothing in between that could
 * send another, so one slot a CPU is enough to remember it by. Only a packet that
 * was rewritten costs more than that.
 */
#include "emit.h"

#define MAX_REWRITES 8192
#define RECORD_EVERY_NS 1000000000ULL

DESCRIBE(csum_rewrite_record);
DESCRIBE(module_load_record);

struct crossing {
	__u64 skb;
	__u64 dev;
	__u64 none; /* its checksum was CHECKSUM_NONE at the entry */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct crossing);
} crossings SEC(".maps");

struct device_key {
	__u64 cookie;
	__u32 inum;
	__s32 ifindex;
};

struct rewrites {
	__u64 packets;
	__u64 recorded; /* when last a record was made */
	struct csum_rewrite_record last;
};

/* The truth: how many packets each device rewrote. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_REWRITES);
	__type(key, struct device_key);
	__type(value, struct rewrites);
} rewrites SEC(".maps");

static __always_inline int sent(struct sk_buff *skb, struct net_device *dev)
{
	__u32 zero = 0;
	struct crossing *c = bpf_map_lookup_elem(&crossings, &zero);

	if (!c)
		return 0;
	c->skb = (__u64)skb;
	c->dev = (__u64)dev;
	c->none = BPF_CORE_READ_BITFIELD_PROBED(skb, ip_summed) == CHECKSUM_NONE;
	return 0;
}

/* Rare: once for each device, or never on a kernel without the bug. */
static __noinline int rewritten(struct net_device *dev, struct net_device *peer)
{
	struct csum_rewrite_record now = {};
	struct device_key key = {};
	struct rewrites *r;
	__u64 time;

	now.header.type = RECORD_CSUM_REWRITE;
	now.header.version = RECORD_VERSION;
	now.header.size = sizeof(now);
	read_netns(&now.netns, BPF_CORE_READ(dev, nd_net.net));
	read_netns(&now.peer_netns, BPF_CORE_READ(peer, nd_net.net));
	now.ifindex = BPF_CORE_READ(dev, ifindex);
	now.peer_ifindex = BPF_CORE_READ(peer, ifindex);
	key.cookie = now.netns.cookie;
	key.inum = now.netns.inum;
	key.ifindex = now.ifindex;
	r = bpf_map_lookup_elem(&rewrites, &key);
	if (!r) {
		struct rewrites fresh = {};

		BPF_CORE_READ_INTO(&now.name, dev, name);
		BPF_CORE_READ_INTO(&now.peer_name, peer, name);
		fresh.last = now;
		bpf_map_update_elem(&rewrites, &key, &fresh, BPF_NOEXIST);
		r = bpf_map_lookup_elem(&rewrites, &key);
		if (!r) {
			count_loss(LOSS_REWRITES_FULL);
			return 0;
		}
	}
	__sync_fetch_and_add(&r->packets, 1);
	time = bpf_ktime_get_ns();
	if (r->recorded && time - r->recorded < RECORD_EVERY_NS)
		return 0;
	r->recorded = time;
	now = r->last;
	now.header.time = time;
	now.packets = r->packets;
	if (bpf_ringbuf_output(&ring, &now, sizeof(now), 0))
		count_loss(LOSS_RING_FULL);
	return 0;
}

static __always_inline int handed_over(struct net_device *peer, struct sk_buff *skb)
{
	__u32 zero = 0;
	struct crossing *c = bpf_map_lookup_elem(&crossings, &zero);

	/* Others forward packets by this function too: bpf_redirect(), ipvlan, netkit. */
	if (!c || c->skb != (__u64)skb)
		return 0;
	c->skb = 0;
	if (c->none && BPF_CORE_READ_BITFIELD_PROBED(skb, ip_summed) == CHECKSUM_UNNECESSARY)
		rewritten((struct net_device *)c->dev, peer);
	return 0;
}

/* Runs before the module's init; a function of it can be attached to from now on. */
static __always_inline int module_loading(struct module *mod)
{
	struct module_load_record *r = record_begin(module_load_record, RECORD_MODULE_LOAD);

	if (!r)
		return 0;
	BPF_CORE_READ_INTO(&r->name, mod, name);
	record_end(r);
	return 0;
}

SEC("tp_btf/module_load")
int BPF_PROG(module_tp_btf, struct module *mod)
{
	return module_loading(mod);
}

SEC("raw_tp/module_load")
int BPF_PROG(module_raw_tp, struct module *mod)
{
	return module_loading(mod);
}

SEC("fentry/veth_xmit")
int BPF_PROG(xmit_fentry, struct sk_buff *skb, struct net_device *dev)
{
	return sent(skb, dev);
}

SEC("kprobe/veth_xmit")
int BPF_KPROBE(xmit_kprobe, struct sk_buff *skb, struct net_device *dev)
{
	return sent(skb, dev);
}

SEC("fentry/__dev_forward_skb")
int BPF_PROG(forward_fentry, struct net_device *peer, struct sk_buff *skb)
{
	return handed_over(peer, skb);
}

SEC("kprobe/__dev_forward_skb")
int BPF_KPROBE(forward_kprobe, struct net_device *peer, struct sk_buff *skb)
{
	return handed_over(peer, skb);
}
