// SPDX-License-Identifier: Apache-2.0

package refs

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// found is what searches of the kernel's memory found of one device that waits.
type found struct {
	objects  []*record.HeldObject // told; what they belong to comes after them
	search   *record.HolderSearch // the last one that ended; nil: none has
	account  account
	families map[string]int
	tracker  *joinable          // the kernel's own, if it has one
	joined   *joined            // the same beside the objects
	told     []*finding.Finding // holders and leaks that are not closed
}

// foundObject takes in an object that points at a device.
func (d *Detector) foundObject(r *record.HeldObject) {
	if w := d.waiting[fmt.Sprint(r.Dev)]; w != nil && len(w.found.objects) < maxObjects {
		object := *r
		w.found.objects = append(w.found.objects, &object)
	}
}

// searched takes in that a search has ended.
func (d *Detector) searched(r *record.HolderSearch, emit func(*finding.Finding)) {
	w := d.waiting[fmt.Sprint(r.Dev)]
	if w == nil {
		return
	}
	objects, tracker := w.found.objects, w.found.tracker
	w.found.objects, w.found.tracker = nil, nil
	if !r.Waiting || w.ifindex != r.Ifindex {
		return // another device's, of the same address
	}
	w.found.joined = join(tracker, objects)
	search := *r
	w.found.search, w.found.account, w.found.families = &search, accountFor(r, objects), countFamilies(objects)
	if r.UsageKnown {
		w.refcount, w.refKnown = r.Usage, true
	}
	state := finding.Updated
	if !w.told {
		w.told, state = true, finding.Opened
	}
	emit(d.report(w, state, KindWaiting, r.When()))
	now := d.foundFindings(w, objects)
	for _, f := range w.found.told {
		switch again := slices.IndexFunc(now, func(n *finding.Finding) bool { return n.ID == f.ID }); {
		case again >= 0:
		case f.Kind == KindLeaked && !w.found.account.isSure(r):
			now = append(now, f) // nothing says that it is over
		default:
			emit(noLongerFound(f, d.known.At(r.When())))
		}
	}
	for _, f := range now {
		i := slices.IndexFunc(w.found.told, func(t *finding.Finding) bool { return t.ID == f.ID })
		if i >= 0 && (w.found.told[i] == f || w.found.told[i].Count == f.Count) {
			continue
		}
		if i >= 0 {
			f.State = finding.Updated
		}
		emit(f)
	}
	w.found.told = now
	d.checkOverPut(w, r.When(), emit)
}

// foundFindings are those of the objects that hold a device, and of what is left over.
func (d *Detector) foundFindings(w *device, objects []*record.HeldObject) []*finding.Finding {
	r, wording := w.found.search, &Searches{known: d.known}
	var list []*finding.Finding
	for _, o := range w.found.firstTold(w.id, objects) {
		f := wording.holder(r, o)
		wording.joinHolder(f, o, w.found.joined)
		f.ID = heldID(w.id, o)
		list = append(list, f)
	}
	if w.found.account.isLeaked(r) {
		f := wording.leaked(r, objects, w.found.account, w.found.joined)
		f.ID = finding.NewID(finding.Refs, w.id, KindLeaked)
		list = append(list, f)
	}
	for _, f := range list {
		f.Details["waiting"], f.Details["source"] = w.id, "search"
		f.Evidence.How += w.found.after(w)
		d.left(w, f)
		if f.Kind == KindHolder {
			f.Facts = append(f.Facts, finding.Fact{Label: "searched", Text: f.Evidence.How})
		}
	}
	return list
}

func heldID(wait string, o *record.HeldObject) string {
	return finding.NewID(finding.Refs, wait, o.Object, o.Field)
}

// firstTold are the objects that are findings of their own, those that were told first:
// one that is still there is not closed because others came before it this time.
func (s *found) firstTold(wait string, objects []*record.HeldObject) []*record.HeldObject {
	var before, list []*record.HeldObject
	for _, o := range objects {
		if o.Means != record.PointerCounted {
			continue
		}
		id := heldID(wait, o)
		if slices.ContainsFunc(s.told, func(f *finding.Finding) bool { return f.ID == id }) {
			before = append(before, o)
		} else {
			list = append(list, o)
		}
	}
	list = append(before, list...)
	return list[:min(holdersTold, len(list))]
}

// after words when the last search ended.
func (s *found) after(w *device) string {
	at, least := s.search.When(), ""
	since := w.since
	if since == 0 {
		since, least = w.firstSeen, "at least "
	}
	waited := time.Duration(max(at, since) - since).Round(100 * time.Millisecond)
	return fmt.Sprintf("; it ended %s%s after it began to wait", least, waited)
}

// foundBalance puts in the verdict about a wait what memory was searched for, or that it
// will be.
func (d *Detector) foundBalance(w *device, f *finding.Finding) {
	r := w.found.search
	if r == nil {
		f.Facts = append(f.Facts, finding.Fact{Label: "held by", Text: "not known yet: memory is searched for it when it has waited for some seconds"})
		return
	}
	wording := &Searches{known: d.known}
	evidence := wording.finding(r, KindWaiting).Evidence
	how := evidence.How + w.found.after(w)
	evidence.How = w.how + "; " + how
	f.Evidence = evidence
	f.Details["searched_at"] = d.known.At(r.When())
	a := w.found.account
	if a.known {
		f.Details["own"], f.Details["certain"], f.Details["likely"], f.Details["unexplained"] = r.Own, a.certain, a.likely, a.unexplained()
	}
	foundFacts(f, r, w.found.families, a)
	wording.joinHeld(f, w.found.joined)
	if a.known && a.unexplained() > 0 {
		text := references(a.unexplained()) + ": no known kind of object in memory has it"
		if !a.isLeaked(r) {
			text += ", as far as was seen"
		}
		f.Facts = append(f.Facts, finding.Fact{Label: "unexplained", Text: text})
	}
	f.Facts = append(f.Facts, finding.Fact{Label: "searched", Text: how})
}

// foundEnds closes what was told of a device that waits no longer.
func (d *Detector) foundEnds(w *device, at uint64, emit func(*finding.Finding)) {
	for _, f := range w.found.told {
		emit(noLongerFound(f, d.known.At(at)))
	}
	w.found.told = nil
}

// noLongerFound closes what a search had found.
func noLongerFound(f *finding.Finding, at time.Time) *finding.Finding {
	closed := *f
	closed.State, closed.Time, closed.Count, closed.Facts = finding.Closed, at, 0, nil
	closed.Details = maps.Clone(f.Details)
	closed.Summary = "no longer: " + f.Summary
	return &closed
}
