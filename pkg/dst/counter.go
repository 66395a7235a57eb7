// SPDX-License-Identifier: Apache-2.0

package dst

import (
	"fmt"
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

const (
	// A counter is compared with its ledger at rest only: the kernel decrements it up
	// to an RCU grace period before an entry's end is seen.
	restLooks = 4
	restTime  = uint64(3 * time.Second)

	// Pressure begins and ends at these parts of the threshold, in percent.
	pressureFrom = 80
	pressureTo   = 60
)

// account is what is known of one counter.
type account struct {
	last   record.DstCounter
	since  uint64 // when it was first seen as it is
	looks  int    // in a row that found the same
	shares uint64 // since when it has this counter's memory

	// base is the counter's lead over the ledger, from before tracing.
	base     int64
	based    bool
	fromZero bool // concluded from the first look, not at rest

	shared   bool
	drift    int64 // as told
	driftID  string
	pressure string // id while there is pressure
}

// lead is how much the counter shows beyond what the ledger explains.
func lead(r *record.DstCounter) int64 { return r.Entries - int64(r.Charged) + int64(r.Credited) }

func (d *Detector) looked(r *record.DstCounter, emit func(*finding.Finding)) {
	if r.Missed != d.missed {
		// Some ledger lacks a hit, and nobody knows which: all begin anew.
		d.missed = r.Missed
		for _, a := range d.accounts {
			a.based = false
		}
	}
	a := d.accounts[r.Ops.Addr]
	if a != nil && (r.Gone || a.last.Birth != r.Birth) {
		d.gone(a, r.When(), emit)
		a = nil
	}
	if r.Gone {
		return
	}
	if a == nil {
		a = &account{shares: r.When()}
		d.accounts[r.Ops.Addr] = a
	}
	a.see(r)
	if r.Unread {
		return
	}
	d.compareMemory(a, emit)
	d.compareThreshold(a, emit)
	if r.Ops.Kind != record.DstOpsOther { // of a module, whose memory may be another's when it has gone
		d.compareLedger(a, emit)
	}
}

// see takes in a look.
func (a *account) see(r *record.DstCounter) {
	if a.looks > 0 && a.last.Counter != r.Counter {
		a.shares, a.based, a.shared = r.When(), false, false
	}
	same := a.last.Entries == r.Entries && a.last.Charged == r.Charged && a.last.Credited == r.Credited
	if a.looks == 0 || !same {
		a.looks, a.since = 0, r.When()
	}
	a.looks++
	a.last = *r
}

func (a *account) rests() bool {
	return a.looks >= restLooks && a.last.When()-a.since >= restTime
}

func (d *Detector) gone(a *account, at uint64, emit func(*finding.Finding)) {
	if a.pressure != "" {
		emit(d.reportPressure(a, finding.Closed, at))
	}
	if d.counters[a.last.Counter] == a.last.Ops.Addr {
		delete(d.counters, a.last.Counter)
	}
	delete(d.accounts, a.last.Ops.Addr)
}

// compareMemory looks for two dst_ops that count in the same memory. Each must be
// seen to have it after the other was: the memory of a dead namespace's counter is
// soon another's.
func (d *Detector) compareMemory(a *account, emit func(*finding.Finding)) {
	r := &a.last
	other := d.accounts[d.counters[r.Counter]]
	if other == nil || other.last.Counter != r.Counter {
		d.counters[r.Counter] = r.Ops.Addr
		return
	}
	if other == a || a.shared && other.shared || a.shares >= other.last.When() {
		return
	}
	a.shared, other.shared = true, true
	id := finding.NewID(finding.Dst, KindDrift, causeShared, other.last.Ops.Addr, r.Ops.Addr, r.When())
	f := d.finding(KindDrift, id, finding.Opened, r.When(), howCounter)
	f.Count = r.Entries
	f.Netns = d.netns(other.last.Ops)
	f.Details["cause"], f.Details["entries"] = causeShared, r.Entries
	f.Details["from"], f.Details["to"] = d.accountDetails(other.last.Ops), d.accountDetails(r.Ops)
	f.Summary = fmt.Sprintf("the %s and the %s are one counter, with %s",
		d.counterOf(other.last.Ops), d.counterOf(r.Ops), entries(r.Entries))
	emit(f)
}

// compareLedger looks for a change of a counter that no entry explains.
func (d *Detector) compareLedger(a *account, emit func(*finding.Finding)) {
	r := &a.last
	if a.fromZero && r.Strangers > 0 {
		a.based, a.fromZero = false, false // there were entries before: it did not begin at 0
	}
	ahead, rests := lead(r), a.rests()
	if !a.based {
		zero := ahead == 0 && r.Strangers == 0
		if rests || zero {
			a.based, a.fromZero, a.base = true, zero && !rests, ahead-a.drift
		}
		if rests && r.Entries < 0 && a.drift == 0 && !a.shared {
			a.base -= r.Entries // less than nothing is wrong wherever it began
		}
	}
	if !a.based || !rests || a.shared || !d.known.DstExact() {
		return
	}
	if drift := ahead - a.base; drift != a.drift {
		d.drifted(a, drift, emit)
	}
}

func (d *Detector) drifted(a *account, drift int64, emit func(*finding.Finding)) {
	r := &a.last
	state := finding.Updated
	switch {
	case a.driftID == "":
		state = finding.Opened
		a.driftID = finding.NewID(finding.Dst, KindDrift, causeUnexplained, r.Ops.Addr, r.When())
	case drift == 0:
		state = finding.Closed
	}
	f := d.finding(KindDrift, a.driftID, state, r.When(), howCounter)
	a.drift = drift
	f.Count = max(drift, -drift)
	f.Netns = d.netns(r.Ops)
	f.Details["cause"] = causeUnexplained
	f.Details["from"] = d.accountDetails(r.Ops)
	f.Details["entries"], f.Details["drift"] = r.Entries, drift
	f.Details["charged"], f.Details["credited"] = r.Charged, r.Credited
	direction := "more"
	if drift < 0 {
		direction = "less"
	}
	f.Summary = fmt.Sprintf("the %s shows %d %s than its entries explain", d.counterOf(r.Ops), f.Count, direction)
	if state == finding.Closed {
		a.driftID = ""
		f.Summary = fmt.Sprintf("the %s shows what its entries explain again", d.counterOf(r.Ops))
	}
	f.Facts = append(f.Facts, finding.Fact{
		Label: "counter",
		Text: fmt.Sprintf("%d; since tracing started %d allocated, %d destroyed",
			r.Entries, r.Charged, r.Credited),
	})
	emit(f)
}

// compareThreshold looks for pressure, where a threshold has an effect: where there
// is a collector, which above it runs at each allocation.
func (d *Detector) compareThreshold(a *account, emit func(*finding.Finding)) {
	r := &a.last
	filled := r.Entries * 100
	switch {
	case a.pressure == "" && r.HasGC && r.Threshold > 0 && filled >= pressureFrom*int64(r.Threshold):
		a.pressure = finding.NewID(finding.Dst, KindPressure, r.Ops.Addr, r.When())
		emit(d.reportPressure(a, finding.Opened, r.When()))
	case a.pressure != "" && filled < pressureTo*int64(r.Threshold):
		emit(d.reportPressure(a, finding.Closed, r.When()))
		a.pressure = ""
	}
}

func (d *Detector) reportPressure(a *account, state finding.State, at uint64) *finding.Finding {
	r := &a.last
	f := d.finding(KindPressure, a.pressure, state, at, howCounter)
	f.Count = r.Entries
	f.Netns = d.netns(r.Ops)
	f.Details["family"], f.Details["ops"] = family(r.Ops.Family), r.Ops.Kind.String()
	f.Details["entries"], f.Details["gc_thresh"] = r.Entries, r.Threshold
	f.Summary = fmt.Sprintf("the %s has %s, gc_thresh is %d", d.counterOf(r.Ops), entries(r.Entries), r.Threshold)
	if state == finding.Closed {
		f.Summary += ": no longer near it"
		return f
	}
	f.Facts = append(f.Facts, finding.Fact{
		Label: "threshold",
		Text:  "above it the kernel looks for entries to free at each allocation (net.ipv6.route.gc_thresh)",
	})
	return f
}
