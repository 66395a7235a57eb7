// SPDX-License-Identifier: Apache-2.0

package record

// DstOpsKind says whose counter of dst entries a dst_ops is.
type DstOpsKind uint32

// The kinds. All namespaces share those of IPv4 and the other ones.
const (
	DstOpsOther DstOpsKind = iota
	DstOpsIPv4
	DstOpsIPv6
	DstOpsXfrm4
	DstOpsXfrm6
)

// String is the name that findings have for it.
func (k DstOpsKind) String() string {
	if int(k) < len(dstOpsNames) {
		return dstOpsNames[k]
	}
	return dstOpsNames[DstOpsOther]
}

var dstOpsNames = [...]string{"other", "ipv4", "ipv6", "xfrm4", "xfrm6"}

// DstOps is a dst_ops. Netns is zero where all namespaces share it, or where its
// namespace is gone.
type DstOps struct {
	Addr   uint64
	Kind   DstOpsKind
	Family uint32 // AF_INET, AF_INET6
	Netns  NetnsID
}

// DstFailure is dst_alloc() returning NULL. A record is made of the first of each
// dst_ops and namespace, and of at most 16 others a second; the count is of all.
type DstFailure struct {
	Time
	Ops          DstOps // where all namespaces share it, Netns is the device's
	Count        uint64 // since tracing started
	Entries      int64  // the dst_ops' counter
	EntriesKnown bool
	Threshold    uint32 // gc_thresh; 0 where there is no collector
	MayRefuse    bool   // there is a collector that may refuse this entry
	Limit        int32  // entries above which it refuses; net.ipv6.route.max_size for IPv6
	LimitKnown   bool
	Ifindex      int32 // 0: no device was given
	Name         string
	Thread       Thread // on whose time it happened; in a soft interrupt it has no part in it
	Stacks       Stacks
	Polled       bool // read from the kernel's count: without Thread and Stacks
	Final        bool // and the last word, when tracing ends
}

// DstCrossingCause says how an entry's release differed from its allocation.
type DstCrossingCause uint32

// The causes.
const (
	DstOtherOps     DstCrossingCause = 1 // another dst_ops is credited than was charged
	DstNetnsGone    DstCrossingCause = 2 // the memory of the dst_ops is no longer that namespace's
	DstFlagsChanged DstCrossingCause = 3 // DST_NOCOUNT came or went
)

// DstCrossing are entries charged to one account and released from another. A
// record is made at the first of a pair and then at most every second; the count
// is of all.
type DstCrossing struct {
	Time
	From, To DstOps
	Cause    DstCrossingCause
	Count    uint64 // since tracing started
	NoCount  bool   // DST_NOCOUNT was set at the release
	Final    bool   // the last word, when tracing ends
}

// DstCounter compares, at one time, the kernel's counter of a dst_ops with what was
// charged to it and credited since tracing started.
type DstCounter struct {
	Time
	Ops       DstOps
	Birth     uint32 // tells apart namespaces that had the same memory
	Entries   int64  // the kernel's counter, exact sum over all CPUs
	Threshold uint32 // gc_thresh
	HasGC     bool   // entries over the threshold are collected at each allocation
	Charged   uint64
	Credited  uint64
	Strangers uint64 // of the credited, entries that were not seen being charged
	Counter   uint64 // address of the counter's per-CPU part
	Unread    bool   // Entries could not be read
	Gone      bool   // the namespace is no more
	Missed    uint64 // hits that no ledger has, of all dst_ops
}
