// SPDX-License-Identifier: Apache-2.0

// Package incident recognises findings of the same incident, so that a service
// reports each once when it begins and once when it is over, and counts between. It
// has no clock: time is the findings', and what Tick is told.
package incident

import (
	"slices"
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
)

// Change is what a finding means for its incident.
type Change string

// The changes.
const (
	Opened   Change = "opened"   // the first of its signature
	Repeated Change = "repeated" // the same again: another device, another thread
	Updated  Change = "updated"  // more of what is known already, or the end of one of several
	Ended    Change = "ended"    // all is over, and has been for a while
	Overflow Change = "overflow" // there are too many incidents to tell this one apart
)

// Incident is all findings of one signature, from the first until they are over.
type Incident struct {
	Signature  string
	Class      finding.Class
	Kind       string // of the first finding
	DeviceKind string // "" when it is about no device
	Summary    string // of the first finding
	First      time.Time
	Last       time.Time
	Count      int64 // how often it happened
	Open       int64 // how many of those are not over
	// Forgotten is how many could not be followed to their end, for want of room.
	Forgotten int64
}

// Event is one change.
type Event struct {
	Change   Change
	Incident Incident         // as it is after the change
	Finding  *finding.Finding // nil when time brought the change
	// Added is by how much the finding's count has grown since the one before with
	// its id; of the first of an id all of it.
	Added int64
}

// Sink takes events, one after another.
type Sink interface {
	Take(e *Event)
}

// Options are the bounds and patience of a Book. What is 0 gets its default.
type Options struct {
	Release      string        // of the kernel, as uname has it
	Settle       time.Duration // how long an incident has to be over before it is ended; 1 minute
	Quiet        time.Duration // and one whose end is not seen has to be silent; 10 minutes
	MaxIncidents int           // 1,024
	MaxFindings  int           // ids that are followed; 16,384
}

// Book is the incidents that are not over. It belongs to one goroutine.
type Book struct {
	options   Options
	emit      func(*Event)
	incidents map[string]*Incident // by signature
	followed  map[string]*followed // by id of the finding
	closed    int                  // of followed, at most
}

// followed is one id.
type followed struct {
	incident *Incident
	count    int64
	closed   bool
}

// NewBook makes an empty one; emit gets every event.
func NewBook(o Options, emit func(*Event)) *Book {
	b := &Book{emit: emit, incidents: make(map[string]*Incident), followed: make(map[string]*followed)}
	b.Set(o)
	return b
}

// Set changes the options from now on.
func (b *Book) Set(o Options) {
	pick := func(d *time.Duration, otherwise time.Duration) {
		if *d == 0 {
			*d = otherwise
		}
	}
	pick(&o.Settle, time.Minute)
	pick(&o.Quiet, 10*time.Minute)
	if o.MaxIncidents == 0 {
		o.MaxIncidents = 1024
	}
	if o.MaxFindings == 0 {
		o.MaxFindings = 16384
	}
	b.options = o
}

// Open is how many incidents are not over.
func (b *Book) Open() int { return len(b.incidents) }

// Observe takes in a finding and emits one event.
func (b *Book) Observe(f *finding.Finding) {
	if known := b.followed[f.ID]; known != nil {
		b.again(known, f)
		return
	}
	signature := Signature(f, b.options.Release)
	i, change := b.incidents[signature], Repeated
	if i == nil {
		i = &Incident{
			Signature: signature, Class: f.Class, Kind: f.Kind, DeviceKind: deviceKindOf(f),
			Summary: f.Summary, First: f.Time, Last: f.Time,
		}
		change = Opened
		if len(b.incidents) >= b.options.MaxIncidents {
			i.Count, i.Forgotten = 1, 1
			b.emit(&Event{Change: Overflow, Incident: *i, Finding: f, Added: f.Count})
			return
		}
		b.incidents[signature] = i
	}
	i.Count++
	i.Last = later(i.Last, f.Time)
	if len(b.followed) >= b.options.MaxFindings {
		b.forgetClosed()
	}
	switch {
	case f.State == finding.Closed:
	case len(b.followed) >= b.options.MaxFindings:
		i.Forgotten++
	default:
		i.Open++
		b.followed[f.ID] = &followed{incident: i, count: f.Count}
	}
	b.emit(&Event{Change: change, Incident: *i, Finding: f, Added: f.Count})
}

// again takes in one whose id is known.
func (b *Book) again(known *followed, f *finding.Finding) {
	i := known.incident
	i.Last = later(i.Last, f.Time)
	added := max(0, f.Count-known.count)
	known.count = max(known.count, f.Count)
	if was := known.closed; was != (f.State == finding.Closed) {
		known.closed = !was
		if known.closed {
			i.Open--
			b.closed++
		} else { // what was over has begun anew
			i.Open++
		}
	}
	b.emit(&Event{Change: Updated, Incident: *i, Finding: f, Added: added})
}

// Shift is for when the wall clock was set, forward by so much: times of before are
// compared with those that come.
func (b *Book) Shift(by time.Duration) {
	for _, i := range b.incidents {
		i.First, i.Last = i.First.Add(by), i.Last.Add(by)
	}
}

// Tick says what time it is, and emits what has ended.
func (b *Book) Tick(now time.Time) {
	var over []*Incident
	for _, i := range b.incidents {
		silent := now.Sub(i.Last)
		unseen := i.Forgotten > 0 || !endIsSeen(i.Class, i.Kind)
		if i.Open == 0 && i.Forgotten == 0 && silent >= b.options.Settle || unseen && silent >= b.options.Quiet {
			over = append(over, i)
		}
	}
	if len(over) == 0 {
		return
	}
	slices.SortFunc(over, func(a, c *Incident) int { return a.First.Compare(c.First) })
	gone := make(map[*Incident]bool, len(over))
	for _, i := range over {
		gone[i] = true
		delete(b.incidents, i.Signature)
	}
	for id, f := range b.followed {
		if gone[f.incident] {
			delete(b.followed, id)
		}
	}
	for _, i := range over {
		i.Open = 0
		b.emit(&Event{Change: Ended, Incident: *i})
	}
}

// Restart is for when tracing starts anew: ids are not those of before, and what
// is still so will be found again.
func (b *Book) Restart() {
	clear(b.followed)
	b.closed = 0
	for _, i := range b.incidents {
		i.Open, i.Forgotten = 0, 0
	}
}

// forgetClosed makes room: an id that is closed seldom comes again. It goes through
// all of them, so it waits until that is worth it.
func (b *Book) forgetClosed() {
	if b.closed == 0 || b.closed < b.options.MaxFindings/8 {
		return
	}
	b.closed = 0
	for id, f := range b.followed {
		if f.closed {
			delete(b.followed, id)
		}
	}
}

// endIsSeen reports whether findings of the kind are closed when it is over. The
// others go on for as long as something happens.
func endIsSeen(class finding.Class, kind string) bool {
	switch class {
	case finding.Threads:
		return true
	case finding.Refs:
		return kind != "over-put"
	case finding.Dst:
		return kind == "pressure"
	}
	return false
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
