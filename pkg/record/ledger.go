// SPDX-License-Identifier: Apache-2.0

package record

import "iter"

// RefLedger is the statement of one net_device's references: all holds and puts that
// were counted, and the kernel's own count at that time.
type RefLedger struct {
	Time
	Counter    uint64 // net_device.pcpu_refcnt, the per-CPU pointer
	Generation uint64 // ns of CLOCK_MONOTONIC: when counting began; tells devices of one pointer apart
	Dev        uint64 // address of the net_device; 0: not known, nor its names
	Netns      NetnsID
	Ifindex    int32
	Name       string
	// Before is how many references it had before they were counted, if Settled.
	Before  int64
	Settled bool
	// Balance is holds less puts since then.
	Balance int64
	// Count is the kernel's own, if Counted: it could be read while nothing changed.
	Count   int64
	Counted bool
	Sites   []RefSite // that were hit, by place
	// Partial: not all sites are watched, or some were not from the beginning.
	Partial bool
}

// RefTracker is what the kernel's own tracker (CONFIG_NET_DEV_REFCNT_TRACKER, struct
// ref_tracker_dir) has of a device: a ledger of what was taken with a tracker, ever, and was not
// given back. Its traces have neither times nor threads, and what it counts are only holds.
type RefTracker struct {
	Time
	Ledger RefLedger
}

// FamilyLookup is the family of a reference of which only a getter is known, not who
// called it.
const FamilyLookup = "lookup"

// RefSite is an instruction that takes or drops a reference, and how often it did so
// for one device.
type RefSite struct {
	Place  string // symbol+0xoffset, and the module in brackets
	Family string // of holders; for a getter that of its callers is in the traces
	Put    bool
	Getter bool
	Hits   uint64
	Traces []RefTrace
}

// RefTrace is one way to come to a site. Traces of a site add up to its hits at most.
type RefTrace struct {
	Family string // of the first caller that is no getter
	Count  uint64
	First  uint64 // ns of CLOCK_MONOTONIC
	Last   uint64
	// The threads that ran at the first and at the last time.
	FirstThread Thread
	LastThread  Thread
	// Kernel is the call trace, innermost first; empty when none was taken.
	Kernel []uint64
}

// RefUse is a part of a ledger: what one call trace took or dropped at one place, or
// what was done there that no trace is known of.
type RefUse struct {
	Place string
	Put   bool
	RefTrace
}

// Signed is the count, less than 0 for puts.
func (u *RefUse) Signed() int64 {
	if u.Put {
		return -int64(u.Count)
	}
	return int64(u.Count)
}

// Uses is all that a ledger counted, by its sites in their order: each hit is in one
// use, with the family that it is for. What no trace is known of has the site's family
// and no times.
func (l *RefLedger) Uses() iter.Seq[RefUse] {
	return func(yield func(RefUse) bool) {
		for i := range l.Sites {
			s := &l.Sites[i]
			left := s.Hits
			for _, t := range s.Traces {
				// A trace that came while the counts were read is not among them.
				t.Count = min(t.Count, left)
				left -= t.Count
				if t.Count > 0 && !yield(RefUse{s.Place, s.Put, t}) {
					return
				}
			}
			if left > 0 && !yield(RefUse{s.Place, s.Put, RefTrace{Family: s.Family, Count: left}}) {
				return
			}
		}
	}
}

// ThreadState is what has become of a thread that took a reference.
type ThreadState struct {
	Time
	Thread  Thread
	Alive   bool         // its process is
	Sockets []OpenSocket // that the process has open
}

// OpenSocket is a socket that a process has open.
type OpenSocket struct {
	FD       int
	Inode    uint64
	Protocol string // as the kernel names it: LLC, PACKET, TCP; "" when it does not tell
}
