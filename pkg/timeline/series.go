// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"slices"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// Device is a net_device that waited to be freed.
type Device struct {
	Name    string
	Netns   record.NetnsID
	Ifindex int32
	Since   uint64
	Freed   uint64 // 0: it was not
	// Refs are its usage counts, as the kernel would print them.
	Refs series
	// Families are the holders that were ever seen; the Values of Holders are how many
	// there were of each.
	Families []record.HolderFamily
	Holders  series
	// Purposes are what its references were taken for, by the ledger, which counts
	// since Counted; 0: there is none. Before is the usage count of that time, if
	// Settled.
	Purposes []*Purpose
	Counted  uint64
	Before   int64
	Settled  bool
	dev      uint64
}

func (t *Timeline) waits(r *record.DevWait) {
	d := t.devices[r.Dev]
	if d == nil {
		d = &Device{Name: r.Name, Netns: r.Netns, Ifindex: r.Ifindex, Since: r.Since, dev: r.Dev}
		if d.Since == 0 {
			d.Since = r.When()
		}
		if len(t.Devices) >= devicesMax {
			t.Dropped++
			return
		}
		t.Devices = append(t.Devices, d)
		t.devices[r.Dev] = d
	}
	if r.RefcountKnown {
		d.Refs = d.Refs.add(r.When(), int64(r.Refcount))
	}
}

func (t *Timeline) freed(r *record.DevFree) {
	if d := t.devices[r.Dev]; d != nil {
		d.Freed = r.When()
		delete(t.devices, r.Dev)
		delete(t.holding, r.Dev)
	}
}

func (t *Timeline) scanned(r *record.HolderScan) {
	found := make(map[uint64]bool)
	for _, c := range r.Counts {
		d := t.devices[c.Dev]
		if d == nil {
			continue
		}
		found[c.Dev] = true
		if !slices.Contains(d.Families, c.Family) {
			d.Families = append(d.Families, c.Family)
			for i := range d.Holders {
				d.Holders[i].Values = append(d.Holders[i].Values, 0)
			}
		}
	}
	for dev := range found {
		d := t.devices[dev]
		values := make([]int64, len(d.Families))
		for _, c := range r.Counts {
			if c.Dev == dev {
				values[slices.Index(d.Families, c.Family)] += int64(c.Count)
			}
		}
		d.Holders = d.Holders.add(r.When(), values...)
		t.holding[dev] = d
	}
	for dev, d := range t.holding {
		if !found[dev] {
			d.Holders = d.Holders.add(r.When(), make([]int64, len(d.Families))...)
			delete(t.holding, dev)
		}
	}
}

// Rewriter is a device on which checksums were marked.
type Rewriter struct {
	record.CsumDevice
	Transitions [4][4]uint64
	Verdicts    record.CsumVerdicts
	// Packets are {rewritten, corrupt} so far.
	Packets series
	bad     int64
}

type rewriterKey struct {
	name  string
	netns record.NetnsID
	birth uint32
	by    record.CsumBy
	way   record.CsumDirection
	index int32
}

// rewrites returns the device's; one that does not fit is not kept.
func (t *Timeline) rewrites(at uint64, d *record.CsumDevice, counts *record.CsumCounts) *Rewriter {
	key := rewriterKey{d.Name, d.Netns, d.Birth, d.By, d.Direction, d.Ifindex}
	r := t.rewriters[key]
	if r == nil {
		r = &Rewriter{CsumDevice: *d}
		if len(t.Rewriters) >= seriesMax {
			t.Dropped++
			return r
		}
		t.Rewriters = append(t.Rewriters, r)
		t.rewriters[key] = r
	}
	r.CsumDevice = *d
	if counts != nil {
		r.Transitions, r.Verdicts = counts.Transitions, counts.Verdicts
		r.bad = max(r.bad, int64(counts.Verdicts.Corrupt))
	}
	r.Packets = r.Packets.add(at, int64(d.Packets), r.bad)
	return r
}

func (r *Rewriter) corrupt(at, count uint64) {
	r.bad = max(r.bad, int64(count))
	r.Packets = r.Packets.add(at, int64(r.CsumDevice.Packets), r.bad)
}

// Counter is a counter of dst entries.
type Counter struct {
	Ops       record.DstOps
	Threshold uint32 // 0: there is no collector
	// Points are {entries, charged, credited}; without the first, in which it could
	// not be read.
	Points series
	last   Point
}

type counterKey struct {
	ops   uint64
	birth uint32
}

func (t *Timeline) counts(r *record.DstCounter) {
	if r.Unread || r.Gone {
		return
	}
	key := counterKey{r.Ops.Addr, r.Birth}
	c := t.counters[key]
	if c == nil {
		if len(t.Counters) >= seriesMax {
			t.Dropped++
			return
		}
		c = &Counter{Ops: r.Ops}
		t.Counters = append(t.Counters, c)
		t.counters[key] = c
	}
	if r.HasGC {
		c.Threshold = r.Threshold
	}
	values := []int64{r.Entries, int64(r.Charged), int64(r.Credited)}
	c.Points = c.Points.add(r.When(), values...)
	c.last = Point{r.When(), values}
}

// Failure is dst_alloc() that returned NULL. Count is of all so far.
type Failure struct {
	At    uint64
	Ops   record.DstOps
	Count uint64
}

func (t *Timeline) failed(r *record.DstFailure) {
	if len(t.Failures) >= failuresMax {
		t.Dropped++
		return
	}
	t.Failures = append(t.Failures, Failure{r.When(), r.Ops, r.Count})
}
