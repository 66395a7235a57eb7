// SPDX-License-Identifier: Apache-2.0

// Package threads finds threads that are left behind in a network namespace that
// is not their process's: cloned while their parent was away with setns(2), or
// gone and never returned. See docs/threads.md.
package threads

import (
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// Config is what the user chose.
type Config struct {
	// Away is how long a thread may be away before it is reported.
	Away time.Duration
	// HomeAny: threads may live in any namespace; only a clone whose parent went
	// back without it is reported.
	HomeAny bool
}

// Detector follows the threads that are away from home. It keeps an entry for
// each, and the kernel's map bounds how many those can be.
type Detector struct {
	cfg     Config
	known   *finding.Knowledge
	threads map[uint32]*thread // by tid
	// clones are those whose parent is still away, by the tids of both.
	clones map[uint32]map[uint32]*thread
	named  map[uint32]bool // processes that the user chose
	next   uint64          // the earliest deadline, 0: none
}

// thread is one thread that is away from home.
type thread struct {
	id          record.Thread
	home, netns record.NetnsID
	since       uint64
	stacks      record.Stacks
	origin      origin
	deadline    uint64 // when to report it if it is still away; 0: not by time

	parent     record.Thread // of a clone
	leftHome   uint64        // when the parent left, 0: not seen
	parentBack uint64        // when the parent came home (or exited), 0: not yet
	parentEnd  end           // how it ended its window
	deferred   bool          // a clone not reported until its parent is back

	incident string // id of the finding once reported
	harm     harm
}

// end is how a thread ceased to be away.
type end uint8

const (
	returned end = iota
	exited
	lost // it is no longer away, and the record of how was lost
)

// origin is how a thread came to be away.
type origin uint8

const (
	moved      origin = iota // it called setns or unshare itself
	cloned                   // it was cloned there
	seenBefore               // it was there when tracing started
	unseen                   // the record of it was lost; the kernel's list has it
)

// New returns a detector that words its findings with known.
func New(cfg Config, known *finding.Knowledge) *Detector {
	return &Detector{
		cfg: cfg, known: known,
		threads: make(map[uint32]*thread), clones: make(map[uint32]map[uint32]*thread), named: make(map[uint32]bool),
	}
}

// Class implements trace.Detector.
func (d *Detector) Class() finding.Class { return finding.Threads }

// Wake is when the detector wants to see a record even if nothing happens, in ns
// of CLOCK_MONOTONIC; 0 is never.
func (d *Detector) Wake() uint64 { return d.next }

// Observe takes in one record and emits what follows from it.
func (d *Detector) Observe(rec record.Record, emit func(*finding.Finding)) {
	switch r := rec.(type) {
	case *record.NetnsSwitch:
		d.switched(r, emit)
	case *record.ThreadClone:
		d.cloned(r, emit)
	case *record.ThreadExit:
		if t := d.threads[r.Thread.TID]; t != nil && r.Sockets+r.Connects > 0 {
			t.harm.count(r.Sockets, r.Connects, r.Failures)
		}
		d.left(r.Thread.TID, r.When(), exited, emit)
	case *record.ThreadSeen:
		d.seen(r)
	case *record.Process:
		d.process(r, emit)
	case *record.StrandedCall:
		d.called(r, emit)
	case *record.AwayThreads:
		d.reconcile(r, emit)
	}
	if d.next != 0 && rec.When() >= d.next {
		d.overdue(rec.When(), emit)
	}
}

func (d *Detector) switched(r *record.NetnsSwitch, emit func(*finding.Finding)) {
	t := d.threads[r.Thread.TID]
	if r.To.Same(r.Home) {
		if t != nil {
			d.left(r.Thread.TID, r.When(), returned, emit)
		} else {
			d.windowClosed(r.Thread.TID, r.When(), returned, emit)
		}
		return
	}
	if t != nil && r.From.Same(r.Home) { // the record of its way home was lost
		d.left(r.Thread.TID, r.When(), lost, emit)
		t = nil
	}
	if t != nil { // from one strange place to another: its window goes on
		t.netns = r.To
		return
	}
	t = &thread{
		id: r.Thread, home: r.Home, netns: r.To, since: r.When(),
		stacks: r.Stacks.Clone(), origin: moved,
	}
	d.add(t)
	if !d.cfg.HomeAny {
		d.setDeadline(t, r.When())
	}
}

func (d *Detector) cloned(r *record.ThreadClone, emit func(*finding.Finding)) {
	t := &thread{
		id: r.Child, home: r.Home, netns: r.Away, since: r.When(),
		stacks: r.Stacks.Clone(), origin: cloned,
		parent: r.Parent, leftHome: r.LeftHome,
		// A process that moved as a whole, before it had a second thread, may mean to
		// stay where it is; that its parent goes back without the clone is the proof.
		deferred: d.cfg.HomeAny || r.LeftAlone && !d.named[r.Child.TGID],
	}
	d.add(t)
	if !t.deferred {
		emit(d.report(t, KindCloned, r.When()))
	}
}

// left is a thread that is no longer away.
func (d *Detector) left(tid uint32, at uint64, how end, emit func(*finding.Finding)) {
	t := d.threads[tid]
	if t == nil {
		return
	}
	d.drop(tid)
	if t.incident != "" {
		kind := map[end]string{returned: KindRecovered, exited: KindExited, lost: KindEnded}[how]
		emit(d.report(t, kind, at))
	}
	d.windowClosed(tid, at, how, emit)
}

// windowClosed reports the clones that a thread leaves behind when it is no longer
// away itself.
func (d *Detector) windowClosed(tid uint32, at uint64, how end, emit func(*finding.Finding)) {
	for _, t := range sorted(d.clones[tid]) {
		if t.deferred && (how == exited || !d.wasWindow(t, at)) {
			continue
		}
		t.parentBack, t.parentEnd = at, how
		d.settled(t)
		emit(d.report(t, KindStranded, at))
	}
}

// wasWindow reports whether the parent of a clone was only on a visit. Where
// threads may live anywhere, one that visits home says nothing about its clones.
func (d *Detector) wasWindow(t *thread, at uint64) bool {
	return !d.cfg.HomeAny || t.leftHome != 0 && elapsed(t.leftHome, at) < d.cfg.Away
}

func (d *Detector) seen(r *record.ThreadSeen) {
	if d.cfg.HomeAny || d.threads[r.Thread.TID] != nil {
		return
	}
	t := &thread{
		id: r.Thread, home: r.Home, netns: r.Netns, since: r.When(),
		origin: seenBefore,
	}
	d.add(t)
	d.setDeadline(t, r.When())
}

func (d *Detector) process(r *record.Process, emit func(*finding.Finding)) {
	switch r.Event {
	case record.ProcessSeen:
		if r.Named {
			d.named[r.Leader.TGID] = true
		}
	case record.ProcessExec, record.ProcessExit:
		for _, t := range sorted(d.threads) {
			if t.id.TGID == r.Leader.TGID {
				d.left(t.id.TID, r.When(), exited, emit)
			}
		}
		if r.Event == record.ProcessExit {
			delete(d.named, r.Leader.TGID)
		}
	}
}

// reconcile puts the picture right after records were lost: the kernel's list of
// threads that are away is the truth.
func (d *Detector) reconcile(r *record.AwayThreads, emit func(*finding.Finding)) {
	alive := make(map[uint32]bool, len(r.Threads))
	for _, a := range r.Threads {
		alive[a.TID] = true
		if known := d.threads[a.TID]; known != nil {
			if a.Since <= known.since {
				continue
			}
			// It is away anew: both its way home and the next one out were lost.
			d.left(a.TID, a.Since, lost, emit)
		}
		t := &thread{
			id:   record.Thread{TGID: a.TGID, TID: a.TID, Comm: a.Comm},
			home: a.Home, netns: a.Netns, since: a.Since, origin: moved,
		}
		if a.LeftBehind {
			t.origin = unseen
		}
		d.add(t)
		if !d.cfg.HomeAny && (!a.LeftAlone || d.named[a.TGID]) {
			d.setDeadline(t, a.Since) // it may be long over
		}
	}
	for _, t := range sorted(d.threads) {
		if !alive[t.id.TID] {
			d.left(t.id.TID, r.When(), lost, emit)
		} else if t.origin == cloned && !alive[t.parent.TID] {
			d.windowClosed(t.parent.TID, r.When(), lost, emit)
		}
	}
}

func (d *Detector) setDeadline(t *thread, from uint64) {
	t.deadline = from + uint64(d.cfg.Away)
	if d.next == 0 || t.deadline < d.next {
		d.next = t.deadline
	}
}

// overdue reports the threads whose time is up.
func (d *Detector) overdue(now uint64, emit func(*finding.Finding)) {
	due := make(map[uint32]*thread)
	d.next = 0
	for tid, t := range d.threads {
		switch {
		case t.deadline == 0:
		case t.deadline <= now:
			t.deadline = 0
			due[tid] = t
		case d.next == 0 || t.deadline < d.next:
			d.next = t.deadline
		}
	}
	for _, t := range sorted(due) {
		kind := map[origin]string{
			moved: KindNeverReturned, seenBefore: KindStrandedBefore, unseen: KindStranded,
		}[t.origin]
		emit(d.report(t, kind, now))
	}
}
