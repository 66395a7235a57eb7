// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/finding"
)

// References are the references of devices that waited, in one of the forms in which
// the kernel's own debug code prints them.
type References struct {
	// Balance is the form of a ledger: what was taken by whom, and what is left of it.
	// Else it is that of ref_tracker.
	Balance bool
	waits   map[string]*wait
	order   []string
}

// wait is a device and who holds it.
type wait struct {
	last    *finding.Finding
	stacks  map[string]*holding
	holders map[string]bool // ids of the holders that are there
}

// holding is how many references were taken from one place.
type holding struct {
	stack []string
	count int
}

// Write takes in a finding. It implements Writer.
func (r *References) Write(f *finding.Finding) error {
	if f.Class != finding.Refs {
		return nil
	}
	id := f.ID
	if of, ok := f.Details["waiting"].(string); ok {
		id = of
	}
	if r.waits == nil {
		r.waits = make(map[string]*wait)
	}
	w := r.waits[id]
	if w == nil {
		w = &wait{stacks: make(map[string]*holding), holders: make(map[string]bool)}
		r.waits[id] = w
		r.order = append(r.order, id)
	}
	if id == f.ID {
		w.last = f
		return nil
	}
	switch {
	case f.State == finding.Opened && !w.holders[f.ID]:
		w.holders[f.ID] = true
		key := strings.Join(f.Stack, "\n")
		if w.stacks[key] == nil {
			w.stacks[key] = &holding{stack: f.Stack}
		}
		w.stacks[key].count++
	case f.State == finding.Closed && w.holders[f.ID]:
		delete(w.holders, f.ID)
		// Where it was taken was told when it was opened, and may not be now.
		if h := w.stacks[strings.Join(f.Stack, "\n")]; h != nil && h.count > 0 {
			h.count--
		}
	}
	return nil
}

// Finish writes what is left.
func (r *References) Finish(out io.Writer, _ Recorded) error {
	var b strings.Builder
	for _, id := range r.order {
		w := r.waits[id]
		if w.last == nil || w.last.Device == nil {
			continue
		}
		holdings := w.sorted()
		if r.Balance {
			w.balance(&b, holdings)
		} else {
			w.tracker(&b, holdings)
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (w *wait) sorted() []*holding {
	var out []*holding
	for _, h := range w.stacks {
		if h.count > 0 {
			out = append(out, h)
		}
	}
	slices.SortFunc(out, func(a, b *holding) int {
		return cmp.Or(cmp.Compare(b.count, a.count), slices.Compare(a.stack, b.stack))
	})
	return out
}

func (w *wait) name() string { return plain(w.last.Device.Name) }

// unexplained are the references that no holder was found for.
func (w *wait) unexplained() int64 {
	left := w.last.Count
	for _, h := range w.stacks {
		left -= int64(h.count)
	}
	return left
}

func (w *wait) tracker(b *strings.Builder, holdings []*holding) {
	if w.last.State == finding.Closed {
		fmt.Fprintf(b, "ref_tracker: %s@%d has no users left\n", w.name(), w.last.Device.Ifindex)
		return
	}
	for _, h := range holdings {
		fmt.Fprintf(b, "ref_tracker: %s@%d has %d/%d users at\n", w.name(), w.last.Device.Ifindex, h.count, w.last.Count)
		frames(b, h.stack)
	}
	if left := w.unexplained(); left > 0 {
		fmt.Fprintf(b, "ref_tracker: %s@%d has %d/%d users that are not known\n", w.name(), w.last.Device.Ifindex, left, w.last.Count)
	}
}

func (w *wait) balance(b *strings.Builder, holdings []*holding) {
	for _, h := range holdings {
		fmt.Fprintf(b, "Call trace for %s +%d at\n", w.name(), h.count)
		frames(b, h.stack)
	}
	if left := w.unexplained(); left > 0 && w.last.State != finding.Closed {
		fmt.Fprintf(b, "Call trace for %s +%d is not known\n", w.name(), left)
	}
	balance := w.last.Count
	if w.last.State == finding.Closed {
		balance = 0
	}
	fmt.Fprintf(b, "balance for %s is %d\n", w.name(), balance)
}

func frames(b *strings.Builder, stack []string) {
	if len(stack) == 0 {
		b.WriteString("     (no stack was taken)\n")
	}
	for _, frame := range stack {
		fmt.Fprintf(b, "     %s\n", plain(frame))
	}
}
