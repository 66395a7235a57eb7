// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"slices"
)

// iterMapElem is the iterator over the elements of a map (bpf_iter_bpf_map_elem,
// since 5.9).
const iterMapElem = "bpf_map_elem"

const (
	thingHolders = "who holds a device that waits"
	// lostHolders is the same for every family, and told once with all their names.
	lostHolders = "holders of these kinds are not named"
)

// holderPoints are the families of objects whose making and freeing is seen. Each
// way has all programs of a family: an object whose end was missed would be
// reported as a holder after it is gone.
var holderPoints = []point{
	{
		thing: thingHolders,
		lost:  "devices that wait are reported without who holds them",
		ways:  []Way{{Iter, iterMapElem, []string{refsProgHoldersIter}}},
		over:  refsMapHolders,
	},
	{
		thing: "dst entries", lost: lostHolders,
		ways: []Way{
			{Fexit, "dst_alloc, dst_destroy", []string{refsProgDstMadeFexit, refsProgDstGoneFentry}},
			{Kretprobe, "dst_alloc, dst_destroy", []string{refsProgDstMadeKretprobe, refsProgDstGoneKprobe}},
		},
	},
	{
		thing: "neighbours", lost: lostHolders,
		ways: []Way{
			{TPBTF, "neigh_create, neigh_destroy", []string{refsProgNeighMadeTpBtf, refsProgNeighGoneFentry}},
			{RawTP, "neigh_create, neigh_destroy", []string{refsProgNeighMadeRawTp, refsProgNeighGoneKprobe}},
		},
	},
	{
		thing: "neighbour parameters", lost: lostHolders,
		ways: []Way{
			{Fexit, "neigh_parms_alloc, neigh_parms_release", []string{refsProgParmsMadeFexit, refsProgParmsGoneFentry}},
			{Kretprobe, "neigh_parms_alloc, neigh_parms_release", []string{refsProgParmsMadeKretprobe, refsProgParmsGoneKprobe}},
		},
	},
	{
		thing: "IPv4 device states", lost: lostHolders,
		ways: []Way{
			{Fexit, "inetdev_init, in_dev_finish_destroy", []string{refsProgInDevMadeFexit, refsProgInDevGoneFentry}},
			{Kretprobe, "inetdev_init, in_dev_finish_destroy", []string{refsProgInDevMadeKretprobe, refsProgInDevGoneKprobe}},
		},
	},
	{
		thing: "IPv6 device states", lost: lostHolders,
		ways: []Way{
			{Fexit, "ipv6_add_dev, in6_dev_finish_destroy", []string{refsProgInet6DevMadeFexit, refsProgInet6DevGoneFentry}},
			{Kretprobe, "ipv6_add_dev, in6_dev_finish_destroy", []string{refsProgInet6DevMadeKretprobe, refsProgInet6DevGoneKprobe}},
		},
	},
	{
		thing: "nexthops", lost: lostHolders,
		ways: []Way{
			{Fentry, "fib_nh_common_init, fib_nh_common_release", []string{refsProgNexthopMadeFentry, refsProgNexthopGoneFentry}},
			{Kprobe, "fib_nh_common_init, fib_nh_common_release", []string{refsProgNexthopMadeKprobe, refsProgNexthopGoneKprobe}},
		},
	},
	{
		thing: "packet sockets", lost: lostHolders,
		ways: []Way{
			{Fentry, "packet_do_bind, packet_release", []string{refsProgPacketMadeFentry, refsProgPacketGoneFentry}},
			{Kprobe, "packet_do_bind, packet_release", []string{refsProgPacketMadeKprobe, refsProgPacketGoneKprobe}},
		},
	},
	{
		thing: "qdiscs", lost: lostHolders,
		ways: []Way{
			{Fexit, "qdisc_alloc, __qdisc_destroy", []string{refsProgQdiscMadeFexit, refsProgQdiscGoneFentry}},
			{Fexit, "qdisc_alloc, qdisc_destroy", []string{refsProgQdiscMadeFexit, refsProgQdiscGoneOldFentry}},
			{Kretprobe, "qdisc_alloc, __qdisc_destroy", []string{refsProgQdiscMadeKretprobe, refsProgQdiscGoneKprobe}},
			{Kretprobe, "qdisc_alloc, qdisc_destroy", []string{refsProgQdiscMadeKretprobe, refsProgQdiscGoneOldKprobe}},
		},
	},
	{
		thing: "adjacent devices", lost: lostHolders,
		// No kprobe: it is both what went in and what came out that tells.
		ways: []Way{{Fexit, "__netdev_adjacent_dev_insert, __netdev_adjacent_dev_remove", []string{
			refsProgAdjacentMadeFexit, refsProgAdjacentGoneFentry,
		}}},
	},
	{
		thing: "receive queues in sysfs", lost: lostHolders,
		ways: []Way{
			{Fentry, "net_rx_queue_update_kobjects, rx_queue_release", []string{refsProgRxQueuesFentry, refsProgRxQueueGoneFentry}},
			{Kprobe, "net_rx_queue_update_kobjects, rx_queue_release", []string{refsProgRxQueuesKprobe, refsProgRxQueueGoneKprobe}},
		},
	},
	{
		thing: "transmit queues in sysfs", lost: lostHolders,
		ways: []Way{
			{Fentry, "netdev_queue_update_kobjects, netdev_queue_release", []string{refsProgTxQueuesFentry, refsProgTxQueueGoneFentry}},
			{Kprobe, "netdev_queue_update_kobjects, netdev_queue_release", []string{refsProgTxQueuesKprobe, refsProgTxQueueGoneKprobe}},
		},
	},
	{
		thing: "link events", lost: lostHolders,
		ways: []Way{
			{Fentry, "linkwatch_fire_event", []string{refsProgLinkwatchMadeFentry}},
			{Kprobe, "linkwatch_fire_event", []string{refsProgLinkwatchMadeKprobe}},
		},
	},
}

// ScanHolders has the kernel go through the objects that hold devices. Those that
// hold one that waits come out of the ring buffer. It reports whether that can be
// seen on this kernel.
func (s *Session) ScanHolders() (bool, error) {
	o := s.objects[DetectorRefs]
	if o == nil || o.iterators[iterMapElem] == nil {
		return false, nil
	}
	if err := runIterator(o.iterators[iterMapElem]); err != nil {
		return false, fmt.Errorf("looking at what holds the devices that wait: %w", err)
	}
	return true, nil
}

// HolderStack reads a stack that was taken when an object was made, innermost
// address first; nil when none was.
func (s *Session) HolderStack(id int32) []uint64 {
	o := s.objects[DetectorRefs]
	if o == nil || id < 0 {
		return nil
	}
	var pcs [stackDepth]uint64
	if err := o.maps[refsMapStacks].Lookup(uint32(id), &pcs); err != nil {
		return nil // nothing removes one, so there was none
	}
	for i, pc := range pcs {
		if pc == 0 {
			return pcs[:i]
		}
	}
	return pcs[:]
}

const stackDepth = 32 // STACK_DEPTH of headers/record.h

// SeesFree reports whether the freeing of devices is seen on this kernel.
func (p Plan) SeesFree() bool { return p.sees(thingFreed) }

// ScansHolders reports whether what holds the devices that wait can be told here.
func (p Plan) ScansHolders() bool { return p.sees(thingHolders) }

func (p Plan) sees(thing string) bool {
	return slices.ContainsFunc(p, func(o Outcome) bool { return o.Thing == thing && o.Way != nil })
}
