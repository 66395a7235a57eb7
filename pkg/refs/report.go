// SPDX-License-Identifier: Apache-2.0

package refs

import (
	"fmt"
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
)

func (d *Detector) report(w *device, state finding.State, kind string, at uint64) *finding.Finding {
	f := &finding.Finding{
		ID: w.id, State: state, Class: finding.Refs, Kind: kind,
		Time:     d.known.At(at),
		Device:   &finding.Device{Name: w.name, Ifindex: w.ifindex},
		Evidence: d.sampled(d.known.Evidence(finding.Refs, w.how)),
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
		span = "at least " + span
	}
	if kind == KindReleased {
		f.Summary = fmt.Sprintf("%s%s no longer waits, after %s", w.name, where, span)
		return f
	}
	f.Summary = fmt.Sprintf("%s%s waits in unregistration: somebody holds it", w.name, where)
	f.Facts = append(f.Facts, finding.Fact{Label: "waiting", Text: span})
	if left, ok := d.references(w, f); ok {
		f.Summary = fmt.Sprintf("%s%s waits in unregistration: %s left", w.name, where, references(left))
		d.balance(w, f, left)
	}
	if d.known.SearchesMemory() {
		d.foundBalance(w, f)
	}
	return f
}

// references words the device's count, and returns how many references it stands for.
func (d *Detector) references(w *device, f *finding.Finding) (left int64, ok bool) {
	if !w.refKnown {
		f.Facts = append(f.Facts, finding.Fact{Label: "references", Text: "unknown: the count could not be read"})
		return 0, false
	}
	f.Count = int64(w.refcount)
	f.Details["usage_count"] = w.refcount
	left, ok = d.known.References(w.refcount)
	if !ok {
		f.Facts = append(f.Facts, finding.Fact{
			Label: "references",
			Text:  fmt.Sprintf("the kernel's usage count is %d; where it counts from is not known here", w.refcount),
		})
		return 0, false
	}
	f.Count, f.Details["references"] = left, left
	f.Facts = append(f.Facts, finding.Fact{
		Label: "references",
		Text:  fmt.Sprintf("%d left (the kernel's usage count is %d)", left, w.refcount),
	})
	return left, true
}

// balance holds the references against the objects that were found to hold them.
func (d *Detector) balance(w *device, f *finding.Finding, left int64) {
	if !w.holders.scanned {
		return
	}
	if w.hasLedger() {
		d.ledgerBalance(w, f, left)
		return
	}
	if d.known.HoldersOneIn() > 1 {
		d.sampledBalance(w, f)
		return
	}
	explained := w.holders.total
	f.Details["explained"], f.Details["unexplained"] = explained, left-explained
	if len(w.holders.counts) > 0 {
		f.Details["holders"] = w.holders.counts
		f.Facts = append(f.Facts, finding.Fact{Label: "held by", Text: wordFamilies(w.holders.counts)})
	}
	switch unexplained := left - explained; {
	case unexplained > 0:
		f.Facts = append(f.Facts, finding.Fact{
			Label: "unexplained",
			Text: references(unexplained) + ": of objects made before tracing started, " +
				"or of kinds that are not followed",
		})
	case unexplained < 0:
		f.Facts = append(f.Facts, finding.Fact{
			Label: "unexplained",
			Text:  fmt.Sprintf("%d more objects point at it than it has references", -unexplained),
		})
	}
}

func references(n int64) string {
	if n == 1 {
		return "1 reference"
	}
	return fmt.Sprintf("%d references", n)
}
