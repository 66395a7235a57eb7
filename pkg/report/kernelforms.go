// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
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

// wait is a device and who holds it: the last finding of each holder that is there.
type wait struct {
	last    *finding.Finding
	holders map[string]*finding.Finding
}

// holding is how many references were taken from one place.
type holding struct {
	stack []string
	count int64
}

// holdersMax bounds the holders of a device that are remembered.
const holdersMax = 10_000

// Write takes in a finding. It implements Writer.
func (r *References) Write(f *finding.Finding) error {
	if f.Class != finding.Refs {
		return nil
	}
	id := f.ID
	of, isHolder := f.Details["waiting"].(string)
	if isHolder {
		id = of
	}
	if r.waits == nil {
		r.waits = make(map[string]*wait)
	}
	w := r.waits[id]
	if w == nil {
		w = &wait{holders: make(map[string]*finding.Finding)}
		r.waits[id] = w
		r.order = append(r.order, id)
	}
	switch {
	case !isHolder:
		w.last = f
	case f.State == finding.Closed:
		delete(w.holders, f.ID)
	case len(w.holders) < holdersMax || w.holders[f.ID] != nil:
		w.holders[f.ID] = f
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

// sorted are the places, by how many references were taken there.
func (w *wait) sorted() []*holding {
	places := make(map[string]*holding)
	for _, f := range w.holders {
		key := strings.Join(f.Stack, "\n")
		if places[key] == nil {
			places[key] = &holding{stack: f.Stack}
		}
		places[key].count += f.Count
	}
	return slices.SortedFunc(maps.Values(places), func(a, b *holding) int {
		return cmp.Or(cmp.Compare(b.count, a.count), slices.Compare(a.stack, b.stack))
	})
}

func (w *wait) name() string { return plain(w.last.Device.Name) }

// unexplained are the references that no holder was found for.
func (w *wait) unexplained() int64 {
	left := w.last.Count
	for _, f := range w.holders {
		left -= f.Count
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
