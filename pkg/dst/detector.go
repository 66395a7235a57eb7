// SPDX-License-Identifier: Apache-2.0

// Package dst finds routing entries that cannot be allocated, and counters of dst
// entries that are wrong: entries charged to one namespace and released from
// another, counters that two namespaces share, counters that nothing explains. See
// docs/dst.md.
package dst

import (
	"fmt"
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// The kinds of this class.
const (
	KindFailure  = "alloc-failure" // dst_alloc() returned NULL
	KindDrift    = "counter-drift" // a counter of entries is wrong
	KindPressure = "pressure"      // a counter is near the threshold at which entries are collected
)

// tellEvery is how often an incident that goes on is told of again.
const tellEvery = uint64(10 * time.Second)

const (
	howFailure  = "the result of dst_alloc"
	howCrossing = "dst->ops and dst->flags at dst_alloc and dst_destroy"
	howCounter  = "the counter of the dst_ops, and what dst_alloc and dst_destroy did since tracing started"
)

// Detector follows the dst_ops. The kernel's maps bound how many of each there can
// be, and what is gone is told.
type Detector struct {
	known     *finding.Knowledge
	failures  map[failureKey]*failure
	crossings map[crossingKey]*crossing
	accounts  map[uint64]*account // by address of the dst_ops
	counters  map[uint64]uint64   // address of a counter to that of its dst_ops
	missed    uint64
}

// New returns a detector that words its findings with known.
func New(known *finding.Knowledge) *Detector {
	return &Detector{
		known:     known,
		failures:  make(map[failureKey]*failure),
		crossings: make(map[crossingKey]*crossing),
		accounts:  make(map[uint64]*account),
		counters:  make(map[uint64]uint64),
	}
}

// Class implements trace.Detector.
func (d *Detector) Class() finding.Class { return finding.Dst }

// Wake implements trace.Detector: counters come by themselves.
func (d *Detector) Wake() uint64 { return 0 }

// Observe takes in one record and emits what follows from it.
func (d *Detector) Observe(rec record.Record, emit func(*finding.Finding)) {
	switch r := rec.(type) {
	case *record.DstFailure:
		d.failed(r, emit)
	case *record.DstCrossing:
		d.crossed(r, emit)
	case *record.DstCounter:
		d.looked(r, emit)
	}
}

// pace is how often an incident with a count is told of: at first, then every ten
// seconds if the count has grown, and last of all.
type pace struct {
	id    string
	told  uint64 // when last
	count uint64 // as last told
}

// due reports whether to tell of a count, and as what.
func (p *pace) due(at, count uint64, final bool) (finding.State, bool) {
	state := finding.Updated
	switch {
	case p.told == 0:
		state = finding.Opened
	case count <= p.count, !final && at-p.told < tellEvery:
		return state, false
	}
	p.told, p.count = at, count
	return state, true
}

func (d *Detector) finding(kind, id string, state finding.State, at uint64, how string) *finding.Finding {
	return &finding.Finding{
		ID: id, State: state, Class: finding.Dst, Kind: kind,
		Time: d.known.At(at), Evidence: d.known.Evidence(finding.Dst, how),
		Details: map[string]any{},
	}
}

// netns is that of a dst_ops; nil where it has none.
func (d *Detector) netns(o record.DstOps) *finding.Netns {
	if o.Netns.Inode == 0 {
		return nil
	}
	return d.known.Netns(o.Netns)
}

// counterOf words a dst_ops as the counter that it is.
func (d *Detector) counterOf(o record.DstOps) string {
	switch {
	case o.Netns.Inode != 0:
		return fmt.Sprintf("%s counter of netns %s", o.Kind, d.known.Netns(o.Netns))
	case o.Kind >= record.DstOpsIPv6:
		return fmt.Sprintf("%s counter of a namespace that is gone", o.Kind)
	}
	return fmt.Sprintf("%s counter of all namespaces", o.Kind)
}

// account as JSON has it.
func (d *Detector) accountDetails(o record.DstOps) map[string]any {
	out := map[string]any{"ops": o.Kind.String(), "family": family(o.Family)}
	if n := d.netns(o); n != nil {
		out["netns"] = n
	}
	return out
}

func family(number uint32) string {
	switch number {
	case 2: // AF_INET
		return "ipv4"
	case 10: // AF_INET6
		return "ipv6"
	}
	return fmt.Sprint("af ", number)
}

func entries(n int64) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprint(n, " entries")
}
