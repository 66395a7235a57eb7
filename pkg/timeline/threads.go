// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"slices"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// Thread is a thread that was away from home.
type Thread struct {
	record.Thread
	Home  record.NetnsID
	Spans []Span // away, in the order of time
	Calls []Call // what it tried there, the first of many

	Parent *Thread // that cloned it while away itself; nil: it went by itself
	Cloned uint64  // when
	Exited uint64  // 0: it did not
	Open   bool    // it was still away at the end

	open bool // the last span has not ended
}

// Span is a time away.
type Span struct {
	From, To uint64
	Netns    record.NetnsID
}

// Call is a socket or connect call of a thread that was left behind.
type Call struct {
	At     uint64
	Failed bool
	To     string // of connect; "" for socket
}

// thread finds a thread, or makes it.
func (t *Timeline) thread(id record.Thread, home record.NetnsID) *Thread {
	th := t.threads[id.TID]
	if th != nil && (th.TGID == id.TGID && (th.Start == id.Start || th.Start == 0 || id.Start == 0)) {
		return th
	}
	th = &Thread{Thread: id, Home: home}
	if len(t.Threads) >= threadsMax {
		t.Dropped++
		return th
	}
	t.Threads = append(t.Threads, th)
	t.threads[id.TID] = th
	return th
}

// enter begins a span.
func (t *Timeline) enter(th *Thread, at uint64, netns record.NetnsID) {
	th.leave(at)
	if t.spans >= spansMax {
		t.Dropped++
		return
	}
	t.spans++
	th.Spans = append(th.Spans, Span{From: at, To: at, Netns: netns})
	th.open = true
}

func (th *Thread) leave(at uint64) {
	if th.open {
		last := &th.Spans[len(th.Spans)-1]
		last.To = max(at, last.From)
		th.open = false
	}
}

func (t *Timeline) moved(r *record.NetnsSwitch) {
	th := t.thread(r.Thread, r.Home)
	if !th.open && !r.From.Same(r.Home) { // it was away from before the beginning
		t.enter(th, t.Begin, r.From)
	}
	if r.To.Same(r.Home) {
		th.leave(r.When())
		return
	}
	t.enter(th, r.When(), r.To)
}

func (t *Timeline) cloned(r *record.ThreadClone) {
	parent := t.thread(r.Parent, r.Home)
	if !parent.open {
		left := r.LeftHome
		if left == 0 {
			left = t.Begin
		}
		t.enter(parent, left, r.Away)
	}
	child := t.thread(r.Child, r.Home)
	child.Parent, child.Cloned = parent, r.When()
	t.enter(child, r.When(), r.Away)
}

// ended is for a process that is gone, or is another program: its threads are too.
func (t *Timeline) ended(tgid uint32, at uint64) {
	for tid, th := range t.threads {
		if th.TGID == tgid {
			if th.open {
				th.Exited = at
			}
			th.leave(at)
			delete(t.threads, tid)
		}
	}
}

func (t *Timeline) called(r *record.StrandedCall) {
	th := t.threads[r.Thread.TID]
	if th == nil || len(th.Calls) >= callsMax {
		return
	}
	const inProgress = 115 // EINPROGRESS
	c := Call{At: r.When(), Failed: r.Result < 0 && r.Result != -inProgress}
	if to, ok := r.Destination(); ok {
		c.To = to.String()
	}
	th.Calls = append(th.Calls, c)
}

// reconcile is for the kernel's own list, which is read after records were lost.
func (t *Timeline) reconcile(r *record.AwayThreads) {
	listed := make(map[uint32]bool, len(r.Threads))
	for _, a := range r.Threads {
		listed[a.TID] = true
		th := t.thread(record.Thread{TGID: a.TGID, TID: a.TID, Comm: a.Comm}, a.Home)
		if !th.open || !th.Spans[len(th.Spans)-1].Netns.Same(a.Netns) {
			since := a.Since
			if n := len(th.Spans); n > 0 {
				since = max(since, th.Spans[n-1].To)
			}
			t.enter(th, since, a.Netns)
		}
	}
	for tid, th := range t.threads {
		if th.open && !listed[tid] {
			th.leave(r.When())
		}
	}
}

// Namespaces are those that the timeline's threads were in or at home in, each once,
// by inode number.
func (t *Timeline) Namespaces() []record.NetnsID {
	seen := make(map[record.NetnsID]bool)
	for _, th := range t.Threads {
		seen[th.Home] = true
		for _, s := range th.Spans {
			seen[s.Netns] = true
		}
	}
	var out []record.NetnsID
	for id := range seen {
		out = append(out, id)
	}
	slices.SortFunc(out, func(a, b record.NetnsID) int {
		if a.Inode != b.Inode {
			return int(int64(a.Inode) - int64(b.Inode))
		}
		return int(int64(a.Cookie) - int64(b.Cookie))
	})
	return out
}
