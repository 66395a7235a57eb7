// SPDX-License-Identifier: GPL-2.0-only
/*
 * refs: net_devices that wait in unregistration because somebody holds them.
 *
 * While netdev_wait_allrefs() waits it sends NETDEV_UNREGISTER again every
 * second, for a device that is by then NETREG_UNREGISTERED; the first time, sent
 * before the wait, it is NETREG_UNREGISTERING. So the notifier call tells both
 * when the wait began and that it goes on, on every kernel, although the waiting
 * function itself is inlined nearly everywhere.
 */
#include "net_device.h"
#include "refs_holders.h"
#include "refs_hooks.h"

DESCRIBE(dev_wait_record);
DESCRIBE(console_wait_record);

#define MAX_WAITING 16384

struct waiting {
	__u64 since;
	__u32 reported;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_WAITING);
	__type(key, __u64);
	__type(value, struct waiting);
} waiting SEC(".maps");

__s64 waiting_count;

static __always_inline void record_device(struct net_device *dev, __u32 type, __u64 since)
{
	struct dev_wait_record *r = record_begin(dev_wait_record, type);

	if (!r)
		return;
	r->dev = (__u64)dev;
	r->since = since;
	read_netns(&r->netns, BPF_CORE_READ(dev, nd_net.net));
	r->refcount = 0;
	r->refcount_known = type == RECORD_DEV_WAIT && read_refcount(dev, &r->refcount);
	r->ifindex = BPF_CORE_READ(dev, ifindex);
	r->pad = 0;
	BPF_CORE_READ_INTO(&r->name, dev, name);
	record_end(r);
}

static __always_inline int notified(bool in_place, unsigned long what, struct netdev_notifier_info *info)
{
	struct net_device *dev;
	struct waiting *w;
	__u64 key;
	__u32 state;

	if (what != bpf_core_enum_value(enum netdev_cmd, NETDEV_UNREGISTER))
		return 0;
	dev = READ(in_place, info, dev);
	key = (__u64)dev;
	state = reg_state(in_place, dev);
	if (state == NETREG_UNREGISTERING) {
		struct waiting new = { .since = bpf_ktime_get_ns() };

		/* An entry that is there already is another device's, whose end was missed. */
		w = bpf_map_lookup_elem(&waiting, &key);
		if (w)
			*w = new;
		else if (bpf_map_update_elem(&waiting, &key, &new, BPF_NOEXIST) == 0)
			__sync_fetch_and_add(&waiting_count, 1);
		else
			count_loss(LOSS_WAITING_FULL);
		return 0;
	}
	if (state != NETREG_UNREGISTERED)
		return 0;
	w = bpf_map_lookup_elem(&waiting, &key);
	if (!w) { /* it waited before we came */
		struct waiting new = {};

		if (bpf_map_update_elem(&waiting, &key, &new, BPF_NOEXIST) == 0)
			__sync_fetch_and_add(&waiting_count, 1);
		w = bpf_map_lookup_elem(&waiting, &key);
	}
	if (w)
		w->reported = 1;
	else
		count_loss(LOSS_WAITING_FULL);
	record_device(dev, RECORD_DEV_WAIT, w ? w->since : 0);
	return 0;
}

static __always_inline int freed(bool in_place, struct net_device *dev)
{
	__u64 key = (__u64)dev;
	struct waiting *w;

	gone(key); /* what linkwatch held */
	if (!waiting_count)
		return 0;
	w = bpf_map_lookup_elem(&waiting, &key);
	if (!w || !will_be_freed(in_place, dev))
		return 0;
	if (w->reported)
		record_device(dev, RECORD_DEV_FREE, w->since);
	if (bpf_map_delete_elem(&waiting, &key) == 0)
		__sync_fetch_and_add(&waiting_count, -1);
	return 0;
}

/*
 * The kernel's own words, where the notifier cannot be probed. 5.10 hands over
 * the line with its "[  123.456789] " prefix, newer kernels without it.
 */
static __always_inline int printed(const char *text, __u64 bytes)
{
	static const char want[] = "unregister_netdevice: waiting for";
	char line[128] = {};
	bool found = false;

	if (bytes < sizeof(want))
		return 0;
	if (bpf_probe_read_kernel_str(line, sizeof(line), text) < 0)
		return 0;
	for (int at = 0; at < 24; at++) {
		bool same = true;

		for (int i = 0; i < 12; i++)
			same = same && line[at + i] == want[i];
		found = found || same;
	}
	if (!found)
		return 0;
	if (bytes >= sizeof(line))
		count_loss(LOSS_TEXT_CUT);

	struct console_wait_record *r = record_begin(console_wait_record, RECORD_CONSOLE_WAIT);

	if (!r)
		return 0;
	r->bytes = bytes < sizeof(r->text) ? bytes : sizeof(r->text);
	r->pad = 0;
	__builtin_memcpy(r->text, line, sizeof(r->text));
	record_end(r);
	return 0;
}

SEC("fentry/call_netdevice_notifiers_info")
int BPF_PROG(notify_fentry, unsigned long what, struct netdev_notifier_info *info)
{
	return notified(IN_PLACE, what, info);
}

SEC("kprobe/call_netdevice_notifiers_info")
int BPF_KPROBE(notify_kprobe, unsigned long what, struct netdev_notifier_info *info)
{
	return notified(PROBED, what, info);
}

SEC("raw_tp/console")
int BPF_PROG(console_raw_tp, const char *text, __u64 bytes)
{
	return printed(text, bytes);
}

SEC("fentry/free_netdev")
int BPF_PROG(free_fentry, struct net_device *dev)
{
	return freed(IN_PLACE, dev);
}

SEC("kprobe/free_netdev")
int BPF_KPROBE(free_kprobe, struct net_device *dev)
{
	return freed(PROBED, dev);
}

/* Tells all that the devices now waiting are held by, as far as the table knows. */
SEC("iter/bpf_map_elem")
int holders_iter(struct bpf_iter__bpf_map_elem *ctx)
{
	struct holder_key *key = ctx->key;
	struct holder *h = ctx->value;
	struct net_device *dev;
	struct waiting *w;
	__u64 address;

	if (!key || !h)
		return 0;
	dev = held_device(h->family, key->object, key->of);
	address = (__u64)dev;
	w = bpf_map_lookup_elem(&waiting, &address);
	if (w && w->reported)
		write_holder(ctx->meta->seq, key, h, dev);
	return 0;
}
