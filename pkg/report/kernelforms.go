// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"io"
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
	closed time.Time
}

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
		h = new(holding)
		w.holders[f.ID] = h
		w.order = append(w.order, f.ID)
	}
	h.closed = time.Time{}
	if f.State == finding.Closed {
		h.closed = f.Time
	} else {
		h.last = f
	}
}

// Finish writes them. Who let go before the device did is left out; what was closed
// with it is the evidence.
func (r *References) Finish(out io.Writer, _ Recorded) error {
	w := Forms{W: out, Form: r.Form}
	var errs []error
	for _, id := range r.order {
		device := r.waits[id]
		for _, holder := range device.order {
			h := device.holders[holder]
			if h.last != nil && (h.closed.IsZero() || h.closed.Equal(device.released)) {
				errs = append(errs, w.Write(h.last))
			}
		}
		if device.last != nil {
			errs = append(errs, w.Write(device.last))
		}
	}
	return errors.Join(errs...)
}
