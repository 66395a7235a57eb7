// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/netns-trace/netns-trace/pkg/record"
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

// What a scan of holders keeps of each: detectors tell the oldest of a device and
// count the rest, and a flood of them must not cost more than that.
const (
	holdersPerDevice = 64
	holdersInAll     = 1024
)

// ScanHolders has the kernel go through the objects that hold devices which wait. It
// returns the oldest of each device, oldest first, and how many there are of each
// family; nil when that cannot be seen on this kernel.
func (s *Session) ScanHolders() ([]record.Holder, *record.HolderScan, error) {
	o := s.objects[DetectorRefs]
	if o == nil || o.iterators[refsProgHoldersIter] == nil {
		return nil, nil, nil
	}
	scan := holderScan{started: now(), counts: make(map[record.HolderCount]int), byDev: make(map[uint64][]record.Holder)}
	f, err := o.iterators[refsProgHoldersIter].Open()
	if err != nil {
		return nil, nil, fmt.Errorf("looking at what holds the devices that wait: %w", err)
	}
	if err := errors.Join(scan.read(f), f.Close()); err != nil {
		return nil, nil, fmt.Errorf("looking at what holds the devices that wait: %w", err)
	}
	holders := scan.oldest()
	for i := range holders {
		h := &holders[i]
		if h.Stacks.Kernel, err = o.stackOf(refsMapStacks, h.StackID); err != nil {
			return nil, nil, err
		}
	}
	return holders, scan.result(), nil
}

// holderScan takes in what the iterator writes.
type holderScan struct {
	started record.Time
	counts  map[record.HolderCount]int // its Count left 0
	byDev   map[uint64][]record.Holder
}

func (s *holderScan) read(from io.Reader) error {
	return eachRecord(from, func(rec record.Record) {
		if h, ok := rec.(*record.Holder); ok {
			s.counts[record.HolderCount{Dev: h.Dev, Family: h.Family}]++
			s.keep(h)
		}
	})
}

// keep remembers the oldest of a device.
func (s *holderScan) keep(h *record.Holder) {
	all := s.byDev[h.Dev]
	at, _ := slices.BinarySearchFunc(all, h, func(a record.Holder, b *record.Holder) int { return olderHolder(&a, b) })
	if at == holdersPerDevice {
		return
	}
	kept := *h
	kept.Stacks = record.Stacks{}
	all = slices.Insert(all, at, kept)
	s.byDev[h.Dev] = all[:min(len(all), holdersPerDevice)]
}

func olderHolder(a, b *record.Holder) int {
	return cmp.Or(cmp.Compare(a.Since, b.Since), cmp.Compare(a.Object, b.Object))
}

func (s *holderScan) oldest() []record.Holder {
	var out []record.Holder
	for _, dev := range slices.Sorted(maps.Keys(s.byDev)) {
		out = append(out, s.byDev[dev]...)
	}
	return out[:min(len(out), holdersInAll)]
}

func (s *holderScan) result() *record.HolderScan {
	scan := &record.HolderScan{Time: now(), Started: uint64(s.started)}
	for key, n := range s.counts {
		key.Count = n
		scan.Counts = append(scan.Counts, key)
	}
	slices.SortFunc(scan.Counts, func(a, b record.HolderCount) int {
		return cmp.Or(cmp.Compare(a.Dev, b.Dev), cmp.Compare(a.Family, b.Family))
	})
	return scan
}

// stackOf reads a kernel stack by its id, innermost address first; nil when none was
// taken.
func (o *object) stackOf(stacks string, id int32) ([]uint64, error) {
	if id < 0 {
		return nil, nil
	}
	m := o.maps[stacks]
	pcs := make([]uint64, m.ValueSize()/8)
	if err := m.Lookup(uint32(id), pcs); errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("reading a call trace: %w", err)
	}
	if end := slices.Index(pcs, 0); end >= 0 {
		return pcs[:end], nil
	}
	return pcs, nil
}
