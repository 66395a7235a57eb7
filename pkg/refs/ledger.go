// SPDX-License-Identifier: Apache-2.0

package refs

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

const (
	howLedger = "every dev_hold and dev_put since tracing started, counted where the kernel's code does them (kprobes)"

	// tracesTold is how many call traces of one family are shown; all are counted.
	tracesTold = 8
)

// ledger is what a device's ledger says, beside its statement.
type ledger struct {
	record.RefLedger
	purposes []purpose
	told     map[string]*ledgerHolder // by family
}

// ledgerHolder is a finding about references that no object is known for.
type ledgerHolder struct {
	id      string
	purpose purpose
	count   int64
}

// unexplained is by how much the kernel's own count differs from the ledger; not ok
// when that is not known.
func unexplained(l *record.RefLedger) (n int64, ok bool) {
	return l.Count - l.Before - l.Balance, l.Settled && l.Counted
}

func (l *ledger) took(r *record.RefLedger) {
	told := l.told
	if l.Generation != r.Generation || told == nil {
		told = make(map[string]*ledgerHolder)
	}
	*l = ledger{RefLedger: *r, purposes: open(purposes(r)), told: told}
}

// settle says what of the ledger is to be told anew: families with more references
// than there are objects of them.
func (l *ledger) settle(w *device, objects map[string]int) (fresh, gone []*ledgerHolder) {
	now := make(map[string]bool)
	for _, a := range l.purposes {
		left := a.net() - int64(objects[a.family])
		if left <= 0 {
			continue
		}
		now[a.family] = true
		h := l.told[a.family]
		if h == nil {
			h = &ledgerHolder{id: finding.NewID(finding.Refs, w.id, a.family)}
			l.told[a.family] = h
		} else if h.count == left {
			continue
		}
		h.purpose, h.count = a, left
		fresh = append(fresh, h)
	}
	for family, h := range l.told {
		if !now[family] {
			delete(l.told, family)
			gone = append(gone, h)
		}
	}
	slices.SortFunc(gone, func(a, b *ledgerHolder) int { return strings.Compare(a.id, b.id) })
	return fresh, gone
}

// ledgerBalance holds the references against the ledger: what they were taken for,
// what the device had before, and by how much the kernel's own count differs.
func (d *Detector) ledgerBalance(w *device, f *finding.Finding, left int64) {
	l := &w.ledger
	families, dropped := make(map[string]int), int64(0)
	for i := range l.purposes {
		if p := &l.purposes[i]; p.net() > 0 {
			families[p.family] = int(p.net())
		} else {
			dropped -= p.net()
		}
	}
	base := int64(w.refcount) - left
	f.Details["explained"], f.Details["holders"] = l.Balance, families
	if len(families) > 0 {
		f.Facts = append(f.Facts, finding.Fact{Label: "held by", Text: wordFamilies(families)})
	}
	if before := l.Before - base; l.Settled && before != 0 {
		f.Details["before_tracing"], f.Details["explained"] = before, l.Balance+dropped
		f.Facts = append(f.Facts, finding.Fact{
			Label: "before",
			Text:  fmt.Sprintf("it had %s when tracing started; %d were dropped since", references(before), dropped),
		})
	}
	unexplained, ok := unexplained(&l.RefLedger)
	if !ok {
		f.Facts = append(f.Facts, finding.Fact{Label: "unexplained", Text: "not known: references changed while they were counted"})
		return
	}
	f.Details["unexplained"] = unexplained
	if unexplained != 0 {
		f.Facts = append(f.Facts, finding.Fact{
			Label: "unexplained", Text: fmt.Sprintf("%+d: the kernel's own count is %d, the ledger says %d", unexplained, l.Count, l.Before+l.Balance),
		})
	}
}

// ledgerReport words that references are left which were taken for one purpose.
func (d *Detector) ledgerReport(w *device, h *ledgerHolder, state finding.State, at uint64) *finding.Finding {
	a := &h.purpose
	f := &finding.Finding{
		ID: h.id, State: state, Class: finding.Refs, Kind: KindHolder,
		Time:     d.known.At(at),
		Device:   &finding.Device{Name: w.name, Ifindex: w.ifindex},
		Count:    h.count,
		Evidence: d.known.Evidence(finding.Refs, howLedger),
		Details: map[string]any{
			"family": a.family, "waiting": w.id, "source": "ledger",
			"references": h.count, "holds": a.holds, "puts": a.puts,
		},
	}
	where := ""
	if w.netns != nil {
		f.Netns = d.known.Netns(*w.netns)
		where = " of netns " + f.Netns.String()
	}
	if state == finding.Closed {
		f.Count = 0
		f.Summary = fmt.Sprintf("%s%s is no longer held by %s", w.name, where, a.words())
		return f
	}
	f.Summary = fmt.Sprintf("%s%s is held by %s: %s left%s", w.name, where, a.words(), references(h.count), d.taker(a, f, at))
	d.left(w, f)
	d.traces(a, f)
	d.release(a, f)
	return f
}

// left says how many references of the device there are in all.
func (d *Detector) left(w *device, f *finding.Finding) {
	if left, ok := d.known.References(w.refcount); ok && w.refKnown {
		f.Details["left"] = left
	}
}

// taker says who took the references, if that is one: every hold is unmatched then, or
// all of them were the same thread's.
func (d *Detector) taker(a *purpose, f *finding.Finding, at uint64) string {
	var holds []*record.RefUse
	for i := range a.entries {
		if e := &a.entries[i]; !e.Put && e.FirstThread.TGID != 0 {
			holds = append(holds, e)
		}
	}
	if len(holds) == 0 {
		return ""
	}
	first := holds[0]
	for _, e := range holds[1:] {
		if e.FirstThread.TGID != first.FirstThread.TGID {
			return fmt.Sprintf(", by one of %d call traces", len(holds))
		}
	}
	age := time.Duration(max(at, first.First) - first.First)
	f.Details["held_since"], f.Details["held_ms"] = d.known.At(first.First), age.Milliseconds()
	if len(holds) == 1 {
		f.Stack = d.known.Stack(0, first.Kernel)
	}
	who := fmt.Sprintf("%s (pid %d)", first.FirstThread.Comm, first.FirstThread.TGID)
	if finding.InSoftirq(f.Stack) {
		f.Details["context"] = "softirq"
		return fmt.Sprintf(", taken %s before in a soft interrupt", age.Round(100*time.Millisecond))
	}
	f.Process = d.known.Process(first.FirstThread)
	f.Details["context"] = "process"
	return fmt.Sprintf(", taken %s before by %s", age.Round(100*time.Millisecond), who)
}

// trace words an entry.
func (d *Detector) trace(e *record.RefUse) finding.Trace {
	return wordTrace(d.known, e)
}

func wordTrace(known *finding.Knowledge, e *record.RefUse) finding.Trace {
	t := finding.Trace{Count: e.Signed(), Place: e.Place, Stack: known.Stack(0, e.Kernel)}
	if e.First != 0 {
		t.First, t.Last = known.At(e.First), known.At(e.Last)
		t.PID, t.TID, t.Comm = e.FirstThread.TGID, e.FirstThread.TID, e.FirstThread.Comm
	}
	return t
}

// traces shows a purpose's entries: those of holds first, since one of them is the
// one that is looked for.
func (d *Detector) traces(a *purpose, f *finding.Finding) {
	entries := holdsFirst(a.entries)
	for i := range entries[:min(len(entries), tracesTold)] {
		t := d.trace(&entries[i])
		f.Traces = append(f.Traces, t)
		if f.Stack == nil {
			f.Facts = append(f.Facts, finding.Fact{Label: fmt.Sprintf("%+d", t.Count), Text: callers(t)})
		}
	}
	if n := len(entries) - tracesTold; n > 0 {
		f.Details["traces_not_shown"] = n
		f.Facts = append(f.Facts, finding.Fact{Label: "and", Text: fmt.Sprintf("%d more call traces", n)})
	}
	if !a.oneSided() {
		f.Facts = append(f.Facts, finding.Fact{
			Label: "balance", Text: fmt.Sprintf("%d taken, %d dropped", a.holds, a.puts),
		})
	}
}

func holdsFirst(all []record.RefUse) []record.RefUse {
	var holds, puts []record.RefUse
	for _, e := range all {
		if e.Put {
			puts = append(puts, e)
		} else {
			holds = append(holds, e)
		}
	}
	return append(holds, puts...)
}

// callers is a call trace on one line: the place, and the functions above it.
func callers(t finding.Trace) string {
	text := t.Place
	for _, frame := range t.Stack[min(1, len(t.Stack)):min(5, len(t.Stack))] {
		name, _, _ := strings.Cut(frame, "+")
		text += " < " + name
	}
	if t.Comm != "" {
		text += fmt.Sprintf(" (%s, pid %d)", t.Comm, t.PID)
	}
	return text
}

// overPut is the finding that a reference was dropped that nobody had.
func (d *Detector) overPut(w *device, state finding.State, at uint64) *finding.Finding {
	left, _ := d.known.References(w.refcount)
	f := &finding.Finding{
		ID: finding.NewID(finding.Refs, w.id, KindOverPut), State: state, Class: finding.Refs, Kind: KindOverPut,
		Time:     d.known.At(at),
		Device:   &finding.Device{Name: w.name, Ifindex: w.ifindex},
		Count:    -left,
		Evidence: d.known.Evidence(finding.Refs, howLedger),
		Details:  map[string]any{"waiting": w.id, "usage_count": w.refcount},
	}
	where := ""
	if w.netns != nil {
		f.Netns = d.known.Netns(*w.netns)
		where = " of netns " + f.Netns.String()
	}
	f.Summary = fmt.Sprintf("%s%s: %s dropped that nobody had", w.name, where, references(-left))
	if left >= 0 {
		f.Count = 0
		f.Summary = fmt.Sprintf("%s%s: the count is right again", w.name, where)
		return f
	}
	for i := range w.ledger.purposes {
		a := &w.ledger.purposes[i]
		if a.net() >= 0 {
			continue
		}
		f.Facts = append(f.Facts, finding.Fact{Label: "dropped for", Text: fmt.Sprintf("%s: %d taken, %d dropped", a.family, a.holds, a.puts)})
		d.putTraces(a, f)
	}
	return f
}

// putTraces shows where a purpose's references were dropped.
func (d *Detector) putTraces(a *purpose, f *finding.Finding) {
	for i := range a.entries {
		e := &a.entries[i]
		if !e.Put || len(f.Traces) == tracesTold {
			continue
		}
		t := d.trace(e)
		f.Traces = append(f.Traces, t)
		f.Facts = append(f.Facts, finding.Fact{Label: fmt.Sprintf("%+d", t.Count), Text: callers(t)})
		if f.Process == nil && e.FirstThread.TGID != 0 && !finding.InSoftirq(t.Stack) {
			f.Process = d.known.Process(e.FirstThread)
			f.Stack = t.Stack
		}
	}
	f.Details["family"] = a.family
}
