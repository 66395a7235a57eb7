// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/refs"
)

// References are the references of devices that waited, as they were last, in one of
// the forms: each device once, with those that held it to the end.
type References struct {
	Form  Form
	waits map[string]*wait
	order []string
}

// wait is a device and who holds it.
type wait struct {
	last     *finding.Finding // as it waited; nil: not seen
	released time.Time
	holders  map[string]*holding
	order    []string
}

// holding is a finding of who holds a device, as it was last told.
type holding struct {
	last   *finding.Finding
	closed *finding.Finding // nil: it is there
}

// holdersMax bounds the holders of a device that are remembered.
const holdersMax = 10_000

// Write takes in a finding. It implements Writer.
func (r *References) Write(f *finding.Finding) error {
	if f.Class != finding.Refs {
		return nil
	}
	if of, ok := f.Details["waiting"].(string); ok {
		r.of(of).took(f)
		return nil
	}
	switch w := r.of(f.ID); f.Kind {
	case refs.KindReleased:
		w.released = f.Time
	default:
		w.last = f
	}
	return nil
}

func (r *References) of(id string) *wait {
	if r.waits == nil {
		r.waits = make(map[string]*wait)
	}
	w := r.waits[id]
	if w == nil {
		w = &wait{holders: make(map[string]*holding)}
		r.waits[id] = w
		r.order = append(r.order, id)
	}
	return w
}

func (w *wait) took(f *finding.Finding) {
	h := w.holders[f.ID]
	if h == nil {
		if len(w.order) == holdersMax {
			return
		}
		h = new(holding)
		w.holders[f.ID] = h
		w.order = append(w.order, f.ID)
	}
	h.closed = nil
	if f.State == finding.Closed {
		h.closed = f
	} else {
		h.last = f
	}
}

// Finish writes them. Who let go before the device did is left out; what was closed
// with it is the evidence.
func (r *References) Finish(out io.Writer, _ Recorded) error {
	var b strings.Builder
	w := Forms{Form: r.Form}
	for _, id := range r.order {
		device := r.waits[id]
		if device.last == nil || device.last.Device == nil {
			continue
		}
		name, left := device.last.Device.Name, device.last.Count
		traces, known := device.traces()
		w.traces(&b, name+"@"+id, name, traces, left)
		if left > known && r.Form == Balance {
			fmt.Fprintf(&b, "Call trace for %s %+d is not known\n", plain(name), left-known)
		} else if left > known {
			fmt.Fprintf(&b, "ref_tracker: %s@%s has %d/%d users that are not known\n", plain(name), id, left-known, left)
		}
		if r.Form == Balance {
			fmt.Fprintf(&b, "balance for %s is %d\n", plain(name), left)
		}
	}
	return write(out, b.String())
}

// traces are the call traces of all holders, those of one stack together, by how many
// references were taken there; and how many references the holders have.
func (w *wait) traces() (traces []finding.Trace, known int64) {
	places := make(map[string]*finding.Trace)
	for _, id := range w.order {
		h := w.holders[id]
		if h.last == nil || h.closed != nil && (w.released.IsZero() || !h.closed.Time.Equal(w.released)) {
			continue
		}
		known += h.last.Count
		all := h.last.Traces
		if len(all) == 0 {
			all = []finding.Trace{{Count: h.last.Count, Place: "(no stack was taken)", Stack: h.last.Stack}}
		}
		for _, t := range all {
			key := fmt.Sprint(t.Count < 0, t.Place, t.Stack)
			if places[key] == nil {
				places[key] = &finding.Trace{Place: t.Place, Stack: t.Stack}
			}
			places[key].Count += t.Count
		}
	}
	for _, t := range places {
		traces = append(traces, *t)
	}
	slices.SortFunc(traces, func(a, b finding.Trace) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), slices.Compare(a.Stack, b.Stack), strings.Compare(a.Place, b.Place))
	})
	return traces, known
}
