// SPDX-License-Identifier: Apache-2.0

// Package timeline puts records together by what they are of: where each thread was
// when, what referred to each device that waited and what its references were taken
// for, what each device did to checksums, how each counter of dst entries went. It is
// what pictures are drawn from.
package timeline

import (
	"github.com/netns-trace/netns-trace/pkg/record"
)

// Timeline is filled by Observe, in the order of the records, and complete after
// Finish. All times are ns of CLOCK_MONOTONIC.
type Timeline struct {
	Begin, End uint64
	Threads    []*Thread
	Devices    []*Device
	Rewriters  []*Rewriter
	Counters   []*Counter
	Failures   []Failure
	// Dropped counts what did not fit: threads, spans, devices and so on.
	Dropped uint64

	threads   map[uint32]*Thread // alive, by tid
	devices   map[uint64]*Device // waiting, by address
	holding   map[uint64]*Device // of these, what had holders at the last scan
	rewriters map[rewriterKey]*Rewriter
	counters  map[counterKey]*Counter
	spans     int
}

// What a timeline holds at most; a picture of more could not be read.
const (
	threadsMax  = 50_000
	spansMax    = 400_000
	devicesMax  = 20_000
	seriesMax   = 20_000
	failuresMax = 50_000
	pointsMax   = 4096
	callsMax    = 256
)

// New makes an empty one.
func New() *Timeline {
	return &Timeline{
		threads: make(map[uint32]*Thread), devices: make(map[uint64]*Device), holding: make(map[uint64]*Device),
		rewriters: make(map[rewriterKey]*Rewriter), counters: make(map[counterKey]*Counter),
	}
}

// Observe takes in a record.
func (t *Timeline) Observe(rec record.Record) {
	at := rec.When()
	if t.Begin == 0 {
		t.Begin = at
	}
	t.End = max(t.End, at)
	switch r := rec.(type) {
	case *record.NetnsSwitch:
		t.moved(r)
	case *record.ThreadClone:
		t.cloned(r)
	case *record.ThreadSeen:
		th := t.thread(r.Thread, r.Home)
		t.enter(th, t.Begin, r.Netns)
	case *record.ThreadExit:
		if th := t.threads[r.Thread.TID]; th != nil {
			th.leave(at)
			th.Exited = at
			delete(t.threads, r.Thread.TID)
		}
	case *record.Process:
		if r.Event != record.ProcessSeen {
			t.ended(r.Leader.TGID, at)
		}
	case *record.StrandedCall:
		t.called(r)
	case *record.AwayThreads:
		t.reconcile(r)
	case *record.DevWait:
		t.waits(r)
	case *record.DevFree:
		t.freed(r)
	case *record.HolderScan:
		t.scanned(r)
	case *record.RefLedger:
		t.stated(r)
	case *record.CsumRewrite:
		t.rewrites(at, &r.CsumDevice, &r.CsumCounts)
	case *record.CsumCorrupt:
		t.rewrites(at, &r.CsumDevice, nil).corrupt(at, r.Corrupt)
	case *record.DstCounter:
		t.counts(r)
	case *record.DstFailure:
		t.failed(r)
	}
}

// Finish ends what is still going on.
func (t *Timeline) Finish() {
	for _, th := range t.Threads {
		if th.open {
			th.leave(t.End)
			th.Open = true
		}
	}
	for _, c := range t.Counters {
		c.Points = c.Points.end(c.last)
	}
}

// Point is a set of numbers at a time.
type Point struct {
	At     uint64
	Values []int64
}

// series are points in the order of time. A row of the same is kept as its first and
// its last.
type series []Point

func (s series) add(at uint64, values ...int64) series {
	n := len(s)
	if n > 1 && same(s[n-1].Values, values) && same(s[n-2].Values, values) {
		s[n-1].At = at
		return s
	}
	if n >= pointsMax { // half of them, evenly: a picture shows no more
		kept := s[:0]
		for i := 0; i < n; i += 2 {
			kept = append(kept, s[i])
		}
		s = kept
	}
	return append(s, Point{At: at, Values: values})
}

// end adds the last of all, if it is not there.
func (s series) end(p Point) series {
	if n := len(s); p.Values == nil || n > 0 && s[n-1].At >= p.At {
		return s
	}
	return append(s, p)
}

func same(a, b []int64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
