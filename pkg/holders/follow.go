// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// Address families (linux/socket.h).
const (
	inet  = 2
	inet6 = 10
)

// follow finds out of an object what a person can act on.
func (id *identifier) follow(o *object, r *record.HeldObject) {
	if o.inside != nil && o.inside != o.device {
		r.Other = o.inside.Name
	}
	add := func(name, value string) {
		if value != "" {
			r.Facts = append(r.Facts, record.HeldFact{Name: name, Value: value})
		}
	}
	count := func(path string) {
		if n, ok := id.get(o.base, path); ok {
			add("object_references", strconv.FormatInt(int64(int32(n)), 10))
		}
	}
	switch o.family {
	case "neighbour":
		id.followNeighbour(o, add)
		count("neighbour.refcnt")
	case "neigh_parms":
		if tbl, ok := id.get(o.base, "neigh_parms.tbl"); ok {
			add("table", id.neighbourTable(tbl))
		}
		count("neigh_parms.refcnt")
	case "proxy_neighbour":
		if key, ok := id.at(o.base, "pneigh_entry.key"); ok {
			add("address", id.proxyAddress(o, key))
		}
	case "in_device":
		count("in_device.refcnt")
	case "inet6_dev":
		count("inet6_dev.refcnt")
	case "nexthop":
		id.followNexthop(o, add)
	case "dst":
		id.followDst(o, add)
	case "qdisc":
		id.followQdisc(o, add)
	case "devmap":
		id.followDevmap(o, add)
	case "queued_packet":
		id.followQueuedPacket(o, add)
	case "adjacent_device":
		r.Other = id.adjacentOwner(o)
	case "bridge_port":
		if bridge, ok := id.get(o.base, "net_bridge_port.br"); ok {
			if dev, ok := id.get(bridge, "net_bridge.dev"); ok && id.devices[dev] != nil {
				r.Other = id.devices[dev].Name
			}
		} else {
			r.Other = ""
		}
	case "tx_queue":
		id.followQueue(o, "netdev_queue.kobj.name", add)
	case "rx_queue":
		id.followQueue(o, "netdev_rx_queue.kobj.name", add)
	}
}

func (id *identifier) followQueue(o *object, path string, add func(name, value string)) {
	if at, ok := id.get(o.base, path); ok && at != 0 {
		const longest = 16
		if name, err := id.memory.Text(at, longest); err == nil && printable(name) {
			add("queue", name)
		}
	}
}

func (id *identifier) neighbourTable(tbl uint64) string {
	name, _, _ := id.symbol(tbl)
	switch name {
	case "arp_tbl":
		return "arp"
	case "nd_tbl":
		return "ndisc"
	}
	return name
}

func (id *identifier) followNeighbour(o *object, add func(name, value string)) {
	tbl, ok := id.get(o.base, "neighbour.tbl")
	key, okKey := id.at(o.base, "neighbour.primary_key")
	if !ok || !okKey {
		return
	}
	table := id.neighbourTable(tbl)
	size := 4
	if table == "ndisc" {
		size = 16
	}
	add("address", id.address(key, size))
	add("table", table)
	if state, ok := id.get(o.base, "neighbour.nud_state"); ok {
		add("state", neighbourState(state))
	}
	if dead, ok := id.get(o.base, "neighbour.dead"); ok && dead != 0 {
		add("unlinked", "yes")
	}
}

// neighbourState names the NUD_* bits (linux/neighbour.h) as ip neigh does.
func neighbourState(state uint64) string {
	names := []string{"INCOMPLETE", "REACHABLE", "STALE", "DELAY", "PROBE", "FAILED", "NOARP", "PERMANENT"}
	for i, name := range names {
		if state == 1<<i {
			return name
		}
	}
	return ""
}

func (id *identifier) proxyAddress(o *object, key uint64) string {
	// An IPv4 key fills 4 bytes of what kmalloc gives; which it is the object does not
	// tell, but its size may.
	size := 4
	if t, ok := id.types.Struct("pneigh_entry"); ok && o.size >= uint64(id.types.Size(t))+16 {
		if b, ok := id.address6(key); ok && !b.Is4() {
			size = 16
		}
	}
	return id.address(key, size)
}

func (id *identifier) address6(at uint64) (netip.Addr, bool) {
	var b [16]byte
	if id.memory.Read(b[:], at) != nil {
		return netip.Addr{}, false
	}
	for _, v := range b[4:] {
		if v != 0 {
			return netip.AddrFrom16(b), true
		}
	}
	return netip.AddrFrom4([4]byte(b[:4])), true
}

// address reads an IP address of 4 or 16 bytes.
func (id *identifier) address(at uint64, size int) string {
	b := make([]byte, size)
	if id.memory.Read(b, at) != nil {
		return ""
	}
	ip, _ := netip.AddrFromSlice(b)
	return ip.String()
}

func (id *identifier) followNexthop(o *object, add func(name, value string)) {
	common, ok := id.within(o, "fib_nh_common")
	if ok {
		family, _ := id.get(common, "fib_nh_common.nhc_gw_family")
		at, okGateway := id.at(common, "fib_nh_common.nhc_gw")
		switch {
		case !okGateway:
		case family == inet:
			add("gateway", id.address(at, 4))
		case family == inet6:
			add("gateway", id.address(at, 16))
		}
		if side, ok := id.get(common, "fib_nh_common.nhc_family"); ok {
			add("address_family", familyName(side))
		}
	}
	switch id.types.Name(o.typ) {
	case "fib6_info":
		at, ok := id.at(o.base, "fib6_info.fib6_dst.addr")
		bits, okBits := id.get(o.base, "fib6_info.fib6_dst.plen")
		if ok && okBits {
			add("route", fmt.Sprintf("%s/%d", id.address(at, 16), bits))
		}
		if n, ok := id.get(o.base, "fib6_info.fib6_ref"); ok {
			add("object_references", strconv.FormatUint(n, 10))
		}
	case "fib_info":
		if n, ok := id.get(o.base, "fib_info.fib_treeref"); ok {
			add("routes", strconv.FormatUint(n, 10))
		}
		if n, ok := id.get(o.base, "fib_info.fib_clntref"); ok {
			add("object_references", strconv.FormatUint(n, 10))
		}
	}
}

// within is the address of the struct of this name on the way to the pointer.
func (id *identifier) within(o *object, structName string) (uint64, bool) {
	for _, step := range id.types.Steps(o.typ, uint32(o.hit.Addr-o.base)) {
		if id.types.Name(step.Struct) == structName {
			return o.base + uint64(step.At), true
		}
	}
	return 0, false
}

func familyName(family uint64) string {
	switch family {
	case inet:
		return "IPv4"
	case inet6:
		return "IPv6"
	}
	return ""
}

func (id *identifier) followDst(o *object, add func(name, value string)) {
	dst, ok := id.within(o, "dst_entry")
	if !ok {
		return
	}
	ops, _ := id.get(dst, "dst_entry.ops")
	family, _ := id.get(ops, "dst_ops.family")
	add("address_family", familyName(family))
	for _, path := range []string{"dst_entry.__rcuref.refcnt", "dst_entry.__refcnt"} {
		if n, ok := id.get(dst, path); ok {
			if path == "dst_entry.__rcuref.refcnt" {
				n++ // an rcuref counts from 0
			}
			add("object_references", strconv.FormatInt(int64(int32(n)), 10))
			break
		}
	}
	switch family {
	case inet:
		if at, ok := id.at(dst, "rtable.rt_gw4"); ok {
			if gateway := id.address(at, 4); gateway != "0.0.0.0" {
				add("gateway", gateway)
			}
		}
	case inet6:
		at, ok := id.at(dst, "rt6_info.rt6i_dst.addr")
		bits, okBits := id.get(dst, "rt6_info.rt6i_dst.plen")
		if ok && okBits {
			add("route", fmt.Sprintf("%s/%d", id.address(at, 16), bits))
		}
	}
}

func (id *identifier) followQdisc(o *object, add func(name, value string)) {
	ops, _ := id.get(o.base, "Qdisc.ops")
	add("qdisc", id.text(ops, "Qdisc_ops.id"))
	if handle, ok := id.get(o.base, "Qdisc.handle"); ok {
		add("handle", fmt.Sprintf("%x:", handle>>16))
	}
	if parent, ok := id.get(o.base, "Qdisc.parent"); ok && parent != 0 && parent != 0xffffffff {
		add("parent", fmt.Sprintf("%x:%x", parent>>16, parent&0xffff))
	}
	if n, ok := id.get(o.base, "Qdisc.refcnt"); ok {
		add("object_references", strconv.FormatUint(n, 10))
	}
}

// adjacentOwner is the device on whose list of devices above or below it the object
// is.
func (id *identifier) adjacentOwner(o *object) string {
	list, ok := id.field("netdev_adjacent.list")
	if !ok {
		return ""
	}
	for _, d := range id.known {
		for _, path := range []string{"net_device.adj_list.upper", "net_device.adj_list.lower"} {
			head, ok := id.at(d.Addr, path)
			if !ok {
				continue
			}
			found := false
			id.memory.EachInList(head, uint64(list.Offset), func(addr uint64) { found = found || addr == o.base })
			if found {
				return d.Name
			}
		}
	}
	return ""
}

// routeOf is the IPv4 route of a fib_alias, one of those that use a fib_info
// The prefix is that of the leaf on whose list it is.
func (id *identifier) routeOf(alias uint64) (string, bool) {
	list, ok := id.field("fib_alias.fa_list")
	suffix, okSuffix := id.get(alias, "fib_alias.fa_slen")
	leaf, okLeaf := id.field("key_vector.leaf")
	if !ok || !okSuffix || !okLeaf || suffix > 32 {
		return "", false
	}
	// Back along the list, from node to node, to its head, which is in the leaf.
	at := alias + uint64(list.Offset)
	const longest = 64
	for range longest {
		before, ok := id.linkBefore(at)
		if !ok {
			return "", false
		}
		if _, isNode := id.linkBefore(before); isNode {
			at = before
			continue
		}
		key, ok := id.get(before-uint64(leaf.Offset), "key_vector.key")
		if !ok {
			return "", false
		}
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(key))
		return fmt.Sprintf("%s/%d", netip.AddrFrom4(b), 32-suffix), true
	}
	return "", false
}

// linkBefore is what points at an hlist_node: another, or the list's head.
func (id *identifier) linkBefore(node uint64) (uint64, bool) {
	pprev, err := id.memory.Uint64(node + 8)
	if err != nil || pprev < minPointer {
		return 0, false
	}
	back, err := id.memory.Uint64(pprev)
	return pprev, err == nil && back == node
}
