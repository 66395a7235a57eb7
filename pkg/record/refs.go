// SPDX-License-Identifier: Apache-2.0

package record

import "net/netip"

// DevWait is a net_device in unregistration that is still referenced. The kernel
// repeats it about once a second while netdev_wait_allrefs() waits.
type DevWait struct {
	Time
	Dev           uint64 // address of the net_device: its identity
	Since         uint64 // ns of CLOCK_MONOTONIC; 0: it waited before tracing started
	Netns         NetnsID
	Refcount      int32 // what the kernel prints as "Usage count"
	RefcountKnown bool
	Ifindex       int32
	Name          string
}

// DevFree is such a device being freed after all.
type DevFree struct {
	Time
	Dev     uint64
	Since   uint64
	Netns   NetnsID
	Ifindex int32
	Name    string
}

// ConsoleWait is the kernel's own message about a waiting device. Source:
// printk:console.
type ConsoleWait struct {
	Time
	Text string
}

// HolderFamily is a kind of object that holds references on net_devices. The
// numbers are those of enum holder_family in headers/record.h.
type HolderFamily uint32

// The families whose objects are followed from their making to their end.
const (
	HolderDst HolderFamily = 1 + iota
	HolderNeighbour
	HolderNeighParms
	HolderInDev
	HolderInet6Dev
	HolderNexthop
	HolderPacket
	HolderQdisc
	HolderAdjacency
	HolderRxQueue
	HolderTxQueue
	HolderLinkwatch
)

// Holder is an object that points at a net_device which waits. It was made, and not
// freed since, and at the time of the record it points there.
type Holder struct {
	Time
	Dev     uint64 // address of the net_device
	Object  uint64 // address of the object
	Since   uint64 // ns of CLOCK_MONOTONIC: when the object was made
	Thread  Thread // that made it
	Family  HolderFamily
	StackID int32 // of the stack at its making, -1: none was taken
	Stacks  Stacks
	// ObjectRefs are the references on the object itself, if known.
	ObjectRefs      int32
	ObjectRefsKnown bool
	AddressFamily   uint32 // AF_INET, AF_INET6: which side of the network it belongs to
	Address         [16]byte
	Handle          uint32 // of a qdisc
	Text            string // a qdisc's kind, the adjacent device's name
}

// IP is the neighbour's address or the nexthop's gateway; not ok when it has none.
func (h *Holder) IP() (netip.Addr, bool) {
	const inet, inet6 = 2, 10 // AF_INET, AF_INET6
	if h.Family != HolderNeighbour && h.Family != HolderNexthop {
		return netip.Addr{}, false
	}
	switch h.AddressFamily {
	case inet:
		return netip.AddrFrom4([4]byte(h.Address[:4])), true
	case inet6:
		return netip.AddrFrom16(h.Address), true
	}
	return netip.Addr{}, false
}

// HolderScan says that the kernel went through all objects that hold devices. The
// oldest of each device were told before it, one by one; here they are all counted.
type HolderScan struct {
	Time
	Started uint64 // ns of CLOCK_MONOTONIC: a device that waits since later may be missing
	Counts  []HolderCount
}

// HolderCount is how many objects of a family hold a device.
type HolderCount struct {
	Dev    uint64
	Family HolderFamily
	Count  int
}
