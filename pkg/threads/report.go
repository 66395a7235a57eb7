// SPDX-License-Identifier: Apache-2.0

package threads

import (
	"fmt"
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// The kinds of this class. The first four open an incident or raise it; harm
// reports what it causes; the last three end it, KindEnded when the record of how
// was lost.
const (
	KindCloned         = "cloned-mid-setns"
	KindStranded       = "stranded"
	KindNeverReturned  = "never-returned"
	KindStrandedBefore = "stranded-before"
	KindHarm           = "harm"
	KindRecovered      = "recovered"
	KindExited         = "exited"
	KindEnded          = "ended"
)

func (d *Detector) report(t *thread, kind string, at uint64) *finding.Finding {
	f := &finding.Finding{
		State: finding.Updated, Class: finding.Threads, Kind: kind,
		Time:    d.known.At(at),
		Netns:   d.known.Netns(t.netns),
		Process: d.known.Process(t.id),
		Count:   1,
		Stack:   d.known.Stack(0, t.stacks.Kernel),
		Details: map[string]any{
			"home":    d.known.Netns(t.home),
			"away_ms": ms(t.since, at),
		},
	}
	if t.incident == "" {
		t.incident = finding.NewID(finding.Threads, t.id.TID, t.id.Start, t.since)
		f.State = finding.Opened
	}
	f.ID = t.incident
	d.describe(f, t, at)
	return f
}

// describe words what the kind means for this thread.
func (d *Detector) describe(f *finding.Finding, t *thread, at uint64) {
	who := fmt.Sprintf("thread %d of %s[%d]", t.id.TID, name(t.id.Comm), t.id.TGID)
	home := d.known.Netns(t.home)
	switch f.Kind {
	case KindCloned:
		f.Summary = fmt.Sprintf("%s was cloned in netns %s while its parent %d was away from netns %s",
			who, f.Netns, t.parent.TID, home)
	case KindStranded:
		f.Summary = fmt.Sprintf("%s is stranded in netns %s: its parent %d is back in netns %s",
			who, f.Netns, t.parent.TID, home)
		switch t.parentEnd {
		case exited:
			f.Summary = fmt.Sprintf("%s is stranded in netns %s: its parent %d exited", who, f.Netns, t.parent.TID)
		case lost:
			f.Summary = fmt.Sprintf("%s is stranded in netns %s: its parent %d is no longer away", who, f.Netns, t.parent.TID)
		}
		if t.origin == unseen {
			f.Summary = fmt.Sprintf("%s is stranded in netns %s away from netns %s; the record of how was lost",
				who, f.Netns, home)
		}
	case KindNeverReturned:
		f.Summary = fmt.Sprintf("%s went to netns %s and did not return to netns %s for %s",
			who, f.Netns, home, span(t.since, at))
	case KindStrandedBefore:
		f.Summary = fmt.Sprintf("%s has been in netns %s since before tracing started; its process lives in netns %s",
			who, f.Netns, home)
	case KindRecovered:
		f.State = finding.Closed
		f.Summary = fmt.Sprintf("%s is back in netns %s after %s in netns %s", who, home, span(t.since, at), f.Netns)
	case KindExited:
		f.State = finding.Closed
		f.Summary = fmt.Sprintf("%s exited after %s in netns %s", who, span(t.since, at), f.Netns)
	case KindEnded:
		f.State = finding.Closed
		f.Summary = fmt.Sprintf("%s is no longer in netns %s; the record of how was lost", who, f.Netns)
	case KindHarm:
		f.Count = int64(t.harm.failures)
		f.Summary = fmt.Sprintf("%s, in netns %s: %s", who, f.Netns, t.harm.last)
	}
	if f.State == finding.Opened {
		f.Facts = append(f.Facts, finding.Fact{Label: "home", Text: home.String()})
	}
	f.Details["cause"] = d.cause(t)
	d.window(f, t)
	d.harmDetails(f, t)
	d.evidence(f, t)
}

// cause says how the thread came to be where it is.
func (d *Detector) cause(t *thread) string {
	switch {
	case t.origin == cloned:
		return "cloned mid-setns"
	case t.id.TID == t.id.TGID:
		return "leader moved"
	case t.origin == seenBefore:
		return "unknown: it happened before tracing started"
	case t.origin == unseen:
		return "unknown: the record of it was lost"
	}
	return "setns without a way back"
}

// window tells the parent's setns window that a clone was born in.
func (d *Detector) window(f *finding.Finding, t *thread) {
	if t.origin != cloned {
		if t.origin == moved {
			f.Details["left_home"] = d.known.At(t.since)
			f.Facts = append(f.Facts, finding.Fact{Label: "left", Text: d.known.WallClock(d.known.At(t.since))})
		}
		return
	}
	parent := d.known.Process(t.parent)
	window := map[string]any{"cloned": d.known.At(t.since)}
	text := "entered before it could be seen"
	if t.leftHome != 0 {
		window["entered"] = d.known.At(t.leftHome)
		text = fmt.Sprintf("entered %s, cloned %s later", d.known.WallClock(d.known.At(t.leftHome)), span(t.leftHome, t.since))
	}
	switch {
	case t.parentBack == 0:
		text += ", parent still away"
	case t.parentEnd == exited:
		window["parent_exited"] = d.known.At(t.parentBack)
		text += ", parent exited " + span(t.since, t.parentBack) + " after that"
	default:
		window["left"] = d.known.At(t.parentBack)
		text += ", left " + span(t.since, t.parentBack) + " after that"
	}
	if t.leftHome != 0 && t.parentBack != 0 {
		window["ms"] = ms(t.leftHome, t.parentBack)
	}
	f.Details["parent"], f.Details["window"] = parent, window
	if f.State == finding.Opened {
		f.Facts = append(f.Facts, finding.Fact{
			Label: "parent", Text: fmt.Sprintf("thread %d (%s)", t.parent.TID, name(t.parent.Comm)),
		})
	}
	f.Facts = append(f.Facts, finding.Fact{Label: "window", Text: text})
}

func (d *Detector) evidence(f *finding.Finding, t *thread) {
	how := map[origin]string{
		moved:      "switch_task_namespaces",
		cloned:     "task_newtask, switch_task_namespaces",
		seenBefore: "task iterator at the start",
		unseen:     "the kernel's list of threads that are away",
	}[t.origin]
	f.Evidence = d.known.Evidence(finding.Threads, how)
	if user := d.known.Stack(t.id.TGID, t.stacks.User); len(user) > 0 {
		f.Details["user_stack"] = user
	}
}

func name(comm string) string {
	if comm == "" {
		return "?"
	}
	return comm
}

// ms and span take two times. Records of different CPUs can be out of order by a
// little: then it took no time.
func ms(from, to uint64) float64 { return float64(elapsed(from, to)/time.Microsecond) / 1000 }

func elapsed(from, to uint64) time.Duration {
	if to < from {
		return 0
	}
	return time.Duration(to - from)
}

// span is a duration as a person would say it: three figures are enough.
func span(from, to uint64) string {
	d := elapsed(from, to)
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// harm is what a stranded thread did in the wrong place.
type harm struct {
	sockets, connects, failures uint64
	last                        string
	reported                    uint64 // when harm was last reported
}

func (h *harm) count(sockets, connects, failures uint64) {
	h.sockets, h.connects, h.failures = sockets, connects, failures
}

// harmEvery is how often one incident's harm is reported; totals are exact anyway.
const harmEvery = uint64(10 * time.Second)

func (d *Detector) called(r *record.StrandedCall, emit func(*finding.Finding)) {
	t := d.threads[r.Thread.TID]
	if t == nil {
		return
	}
	h := &t.harm
	h.count(r.Sockets, r.Connects, r.Failures)
	failed := r.Result < 0 && -r.Result != errInProgress
	if r.Call == record.CallConnect {
		h.last = "connect to " + destination(r) + outcome(r.Result)
	} else if failed {
		h.last = "socket(" + familyName(r.Family) + ")" + outcome(r.Result)
	}
	if t.incident == "" || h.last == "" || (h.reported != 0 && r.When()-h.reported < harmEvery) {
		return
	}
	h.reported = r.When()
	emit(d.report(t, KindHarm, r.When()))
}

func (d *Detector) harmDetails(f *finding.Finding, t *thread) {
	h := t.harm
	if h.sockets+h.connects == 0 {
		return
	}
	f.Details["harm"] = map[string]any{
		"sockets": h.sockets, "connects": h.connects, "failures": h.failures, "last": h.last,
	}
	f.Facts = append(f.Facts, finding.Fact{Label: "harm", Text: fmt.Sprintf(
		"%d sockets, %d connects, %d failed since", h.sockets, h.connects, h.failures)})
}
