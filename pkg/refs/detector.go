// SPDX-License-Identifier: Apache-2.0

// Package refs finds network devices that cannot be freed because somebody holds
// a reference: the ones behind "unregister_netdevice: waiting for veth1 to become
// free", and what holds them. See docs/refs.md.
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
	KindHolder   = "holder"   // an object that holds such a device, or references taken for one purpose
	KindOverPut  = "over-put" // a reference of such a device was dropped that nobody had
	KindReleased = "released" // the wait ended
)

const (
	// silence ends a wait whose end was not seen: the kernel repeats itself every
	// second while it waits, and a busy machine may be late. It repeats nothing while
	// somebody else has the rtnl lock, so where the end can be seen it takes longer.
	silence     = uint64(10 * time.Second)
	longSilence = uint64(60 * time.Second)

	// scanPatience is how long a new wait is held back for the scan of its holders,
	// so that it is told together with them.
	scanPatience = uint64(1500 * time.Millisecond)

	how        = "NETDEV_UNREGISTER sent again for an unregistered device (call_netdevice_notifiers_info)"
	howConsole = "the kernel's message (printk:console)"
)

// Detector follows the devices that wait. It keeps an entry for each; the kernel
// waits for one list of devices after another, so they are few.
type Detector struct {
	known   *finding.Knowledge
	waiting map[string]*device
	states  map[uint32]*record.ThreadState // of processes that took references, by pid
	next    uint64
}

// statesMax bounds what is remembered of processes; it is forgotten when nothing waits.
const statesMax = 1024

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
	told      bool
	holders   holders
	ledger    ledger
	found     found
	overPut   bool
}

func (w *device) hasLedger() bool { return w.ledger.Generation != 0 }

// New returns a detector that words its findings with known.
func New(known *finding.Knowledge) *Detector {
	return &Detector{known: known, waiting: make(map[string]*device), states: make(map[uint32]*record.ThreadState)}
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
	case *record.Holder, *record.RefLedger, *record.ThreadState:
		d.looked(r)
		return // no time has passed: a look's last record is its HolderScan
	case *record.HeldObject:
		d.foundObject(r)
		return
	case *record.RefTracker:
		if w := d.waiting[fmt.Sprint(r.Ledger.Dev)]; w != nil {
			w.found.tracker = kernelTracker(r)
		}
		return
	case *record.HolderSearch:
		d.searched(r, emit)
	case *record.HolderScan:
		for _, w := range d.inOrder() {
			if w.firstSeen < r.Started && w.how != howConsole {
				d.scanned(w, r, emit)
			}
		}
	}
	if d.next != 0 && rec.When() >= d.next {
		d.timeouts(rec.When(), emit)
	}
}

// looked takes in what a look at the holders found.
func (d *Detector) looked(rec record.Record) {
	switch r := rec.(type) {
	case *record.Holder:
		if w := d.waiting[fmt.Sprint(r.Dev)]; w != nil {
			w.holders.saw(r)
		}
	case *record.RefLedger:
		if w := d.waiting[fmt.Sprint(r.Dev)]; w != nil && r.Dev != 0 {
			w.ledger.took(r)
		}
	case *record.ThreadState:
		if len(d.states) < statesMax {
			state := *r
			state.Sockets = slices.Clone(r.Sockets)
			d.states[r.Thread.TGID] = &state
		}
	}
}

func (d *Detector) waits(now device, at uint64, emit func(*finding.Finding)) {
	w := d.waiting[now.key]
	if w != nil && w.since != now.since && now.since > w.firstSeen {
		// Another device at the same address: the end of the first was missed.
		d.ends(w.key, at, "another device has its memory", emit)
		w = nil
	}
	if w != nil {
		w.lastSeen, w.refcount, w.refKnown = at, now.refcount, now.refKnown
		return
	}
	w = &now
	w.firstSeen, w.lastSeen = at, at
	w.id = finding.NewID(finding.Refs, w.key, w.name, at)
	d.waiting[w.key] = w
	if !d.known.ScansHolders() || w.how == howConsole {
		d.tell(w, at, emit)
	}
	d.plan(d.due(w))
}

// scanned takes in that all holders of a device were told or counted.
func (d *Detector) scanned(w *device, scan *record.HolderScan, emit func(*finding.Finding)) {
	at := scan.When()
	counts := make(map[string]int)
	for _, c := range scan.Counts {
		if fmt.Sprint(c.Dev) == w.key {
			counts[familyOf(c.Family).name] += c.Count
		}
	}
	fresh, gone, changed := w.holders.settle(counts)
	more, less := w.ledger.settle(w, counts)
	changed = changed || w.told && len(more)+len(less) > 0
	switch {
	case !w.told:
		d.tell(w, at, emit)
	case changed:
		emit(d.report(w, finding.Updated, KindWaiting, at))
	}
	for _, h := range fresh {
		emit(d.holderReport(w, h, finding.Opened, at))
	}
	for _, h := range more {
		emit(d.ledgerReport(w, h, finding.Opened, at))
	}
	for _, h := range gone {
		emit(d.holderReport(w, h, finding.Closed, at))
	}
	for _, h := range less {
		emit(d.ledgerReport(w, h, finding.Closed, at))
	}
	d.checkOverPut(w, at, emit)
}

// checkOverPut tells when a device has fewer references than none.
func (d *Detector) checkOverPut(w *device, at uint64, emit func(*finding.Finding)) {
	left, ok := d.known.References(w.refcount)
	switch over := w.refKnown && ok && left < 0; {
	case over && !w.overPut:
		emit(d.overPut(w, finding.Opened, at))
	case w.overPut && !over:
		emit(d.overPut(w, finding.Closed, at))
	default:
		return
	}
	w.overPut = !w.overPut
}

func (d *Detector) tell(w *device, at uint64, emit func(*finding.Finding)) {
	w.told = true
	emit(d.report(w, finding.Opened, KindWaiting, at))
}

func (d *Detector) ends(key string, at uint64, end string, emit func(*finding.Finding)) {
	w := d.waiting[key]
	if w == nil {
		return
	}
	delete(d.waiting, key)
	if len(d.waiting) == 0 {
		clear(d.states)
	}
	if !w.told {
		d.tell(w, at, emit)
	}
	for _, h := range w.holders.told() {
		emit(d.holderReport(w, h, finding.Closed, at))
	}
	for _, family := range slices.Sorted(maps.Keys(w.ledger.told)) {
		emit(d.ledgerReport(w, w.ledger.told[family], finding.Closed, at))
	}
	d.foundEnds(w, at, emit)
	if w.overPut {
		emit(d.overPut(w, finding.Closed, at))
	}
	f := d.report(w, finding.Closed, KindReleased, at)
	f.Details["end"] = end
	emit(f)
}

// timeouts tells of devices whose scan did not come, and ends the waits that the
// kernel no longer speaks of.
func (d *Detector) timeouts(now uint64, emit func(*finding.Finding)) {
	d.next = 0
	for _, w := range d.inOrder() {
		switch {
		case now < d.due(w):
		case !w.told:
			d.tell(w, now, emit)
		default:
			d.ends(w.key, now, "no longer announced by the kernel", emit)
			continue
		}
		d.plan(d.due(w))
	}
}

// due is when something has to be done about a device although nothing happens.
func (d *Detector) due(w *device) uint64 {
	if !w.told {
		return w.firstSeen + scanPatience
	}
	return w.lastSeen + d.patience(w)
}

func (d *Detector) plan(at uint64) {
	if d.next == 0 || at < d.next {
		d.next = at
	}
}

func (d *Detector) inOrder() []*device {
	return slices.SortedFunc(maps.Values(d.waiting), func(a, b *device) int {
		return cmp.Or(cmp.Compare(a.firstSeen, b.firstSeen), cmp.Compare(a.key, b.key))
	})
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
