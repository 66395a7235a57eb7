// SPDX-License-Identifier: Apache-2.0

// Package refs finds network devices that cannot be freed because somebody holds
// a reference: the ones behind "unregister_netdevice: waiting for veth1 to become
// free". See docs/refs.md.
package refs

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// The kinds of this class.
const (
	KindWaiting  = "waiting"  // a device in unregistration is still referenced
	KindReleased = "released" // the wait ended
)

const (
	// silence ends a wait whose end was not seen: the kernel repeats itself every
	// second while it waits, and a busy machine may be late. It repeats nothing while
	// somebody else has the rtnl lock, so where the end can be seen it takes longer.
	silence     = uint64(10 * time.Second)
	longSilence = uint64(60 * time.Second)

	how        = "NETDEV_UNREGISTER sent again for an unregistered device (call_netdevice_notifiers_info)"
	howConsole = "the kernel's message (printk:console)"
)

// Detector follows the devices that wait. It keeps an entry for each; the kernel
// waits for one list of devices after another, so they are few.
type Detector struct {
	known   *finding.Knowledge
	waiting map[string]*device
	next    uint64
}

type device struct {
	key       string
	id        string
	name      string
	ifindex   int32
	netns     *record.NetnsID // nil when only the kernel's message told of it
	since     uint64          // 0: before tracing started
	firstSeen uint64
	lastSeen  uint64
	refcount  int32
	refKnown  bool
	how       string
}

// New returns a detector that words its findings with known.
func New(known *finding.Knowledge) *Detector {
	return &Detector{known: known, waiting: make(map[string]*device)}
}

// Class implements trace.Detector.
func (d *Detector) Class() finding.Class { return finding.Refs }

// Wake is when the detector wants to see a record even if nothing happens, in ns
// of CLOCK_MONOTONIC; 0 is never.
func (d *Detector) Wake() uint64 { return d.next }

// Observe takes in one record and emits what follows from it.
func (d *Detector) Observe(rec record.Record, emit func(*finding.Finding)) {
	switch r := rec.(type) {
	case *record.DevWait:
		netns := r.Netns
		d.waits(device{
			key: fmt.Sprint(r.Dev), name: r.Name, ifindex: r.Ifindex, netns: &netns, since: r.Since,
			refcount: r.Refcount, refKnown: r.RefcountKnown, how: how,
		}, r.When(), emit)
	case *record.DevFree:
		d.ends(fmt.Sprint(r.Dev), r.When(), "freed", emit)
	case *record.ConsoleWait:
		if name, count, ok := parseMessage(r.Text); ok {
			d.waits(device{key: name, name: name, refcount: count, refKnown: true, how: howConsole}, r.When(), emit)
		}
	}
	if d.next != 0 && rec.When() >= d.next {
		d.silent(rec.When(), emit)
	}
}

func (d *Detector) waits(now device, at uint64, emit func(*finding.Finding)) {
	w := d.waiting[now.key]
	if w != nil {
		w.lastSeen, w.refcount, w.refKnown = at, now.refcount, now.refKnown
		return
	}
	w = &now
	w.firstSeen, w.lastSeen = at, at
	w.id = finding.NewID(finding.Refs, w.key, w.name, at)
	d.waiting[w.key] = w
	if d.next == 0 {
		d.next = at + d.patience(w)
	}
	emit(d.report(w, finding.Opened, KindWaiting, at))
}

func (d *Detector) ends(key string, at uint64, end string, emit func(*finding.Finding)) {
	w := d.waiting[key]
	if w == nil {
		return
	}
	delete(d.waiting, key)
	f := d.report(w, finding.Closed, KindReleased, at)
	f.Details["end"] = end
	emit(f)
}

// silent ends the waits that the kernel no longer speaks of.
func (d *Detector) silent(now uint64, emit func(*finding.Finding)) {
	d.next = 0
	for _, w := range slices.SortedFunc(maps.Values(d.waiting), func(a, b *device) int {
		return cmp.Or(cmp.Compare(a.firstSeen, b.firstSeen), cmp.Compare(a.key, b.key))
	}) {
		if over := w.lastSeen + d.patience(w); now < over {
			if d.next == 0 || over < d.next {
				d.next = over
			}
			continue
		}
		d.ends(w.key, now, "no longer announced by the kernel", emit)
	}
}

func (d *Detector) patience(w *device) uint64 {
	switch {
	case w.how == howConsole:
		return 3 * silence // the message comes every 10 s by default
	case d.known.SeesFree():
		return longSilence
	}
	return silence
}

func (d *Detector) report(w *device, state finding.State, kind string, at uint64) *finding.Finding {
	f := &finding.Finding{
		ID: w.id, State: state, Class: finding.Refs, Kind: kind,
		Time:     d.known.At(at),
		Device:   &finding.Device{Name: w.name, Ifindex: w.ifindex},
		Evidence: d.known.Evidence(finding.Refs, w.how),
		Details:  map[string]any{},
	}
	where := ""
	if w.netns != nil {
		f.Netns = d.known.Netns(*w.netns)
		where = " of netns " + f.Netns.String()
	}
	since, exact := w.since, true
	if since == 0 {
		since, exact = w.firstSeen, false
	}
	waited := time.Duration(max(at, since) - since)
	f.Details["waiting_ms"] = waited.Milliseconds()
	f.Details["waiting_since"] = d.known.At(since)
	f.Details["waiting_since_exact"] = exact
	span := waited.Round(100 * time.Millisecond).String()
	if !exact {
		span = "at least " + span + " (it began before tracing)"
	}
	if kind == KindReleased {
		f.Summary = fmt.Sprintf("%s%s no longer waits, after %s", w.name, where, span)
		return f
	}
	f.Summary = fmt.Sprintf("%s%s waits in unregistration: somebody holds it", w.name, where)
	f.Facts = append(f.Facts, finding.Fact{Label: "waiting", Text: span})
	if !w.refKnown {
		f.Facts = append(f.Facts, finding.Fact{Label: "references", Text: "unknown: the count could not be read"})
		return f
	}
	f.Count = int64(w.refcount)
	f.Details["usage_count"] = w.refcount
	left, ok := d.known.References(w.refcount)
	if !ok {
		f.Facts = append(f.Facts, finding.Fact{
			Label: "references",
			Text:  fmt.Sprintf("the kernel's usage count is %d; where it counts from is not known here", w.refcount),
		})
		return f
	}
	f.Count, f.Details["references"] = left, left
	f.Summary = fmt.Sprintf("%s%s waits in unregistration: %s left", w.name, where, references(left))
	f.Facts = append(f.Facts, finding.Fact{
		Label: "references",
		Text:  fmt.Sprintf("%d left (the kernel's usage count is %d)", left, w.refcount),
	})
	return f
}

func references(n int64) string {
	if n == 1 {
		return "1 reference"
	}
	return fmt.Sprintf("%d references", n)
}
