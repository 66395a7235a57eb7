// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/refs"
)

// Form is a shape in which kernel developers are used to read references.
type Form string

// The forms. Neither tells an address: what follows the name's @ stands for it.
const (
	// RefTracker is what the kernel's own tracker prints of references that were not
	// dropped, since 6.4: "ref_tracker: veth1@… has 1/1 users at".
	RefTracker Form = "ref_tracker"
	// Balance is that of the debug patches for netdev references: each call trace
	// with its sign, and "balance for veth1 is 1".
	Balance Form = "balance"
)

// Forms writes findings of references in such a shape, and passes over all others.
type Forms struct {
	W    io.Writer
	Form Form
}

// Write implements Writer.
func (w Forms) Write(f *finding.Finding) error {
	if f.Class != finding.Refs || f.State == finding.Closed || f.Device == nil {
		return nil
	}
	var b strings.Builder
	name := f.Device.Name
	waiting, _ := f.Details["waiting"].(string)
	switch {
	case f.Kind == refs.KindWaiting && w.Form == Balance:
		fmt.Fprintf(&b, "balance for %s is %d\n", plain(name), f.Count)
	case f.Kind == refs.KindHolder, f.Kind == refs.KindOverPut:
		traces := f.Traces
		if len(traces) == 0 {
			traces = []finding.Trace{{Count: f.Count, Stack: f.Stack}}
		}
		left, _ := f.Details["left"].(int64)
		w.traces(&b, name+"@"+waiting, name, traces, max(left, f.Count))
	}
	return write(w.W, b.String())
}

// Statement writes the ledger of one device.
func (w Forms) Statement(s *refs.Statement) error {
	var b strings.Builder
	name, left := "?", int64(0)
	if s.Device != nil {
		name = s.Device.Name
	}
	if s.References != nil {
		left = *s.References
	}
	balance := s.Balance
	if s.Before != nil && *s.Before != 0 {
		balance += *s.Before
		if w.Form == Balance { // who of them still has one is not known
			w.traces(&b, "", name, []finding.Trace{{Count: *s.Before, Place: "(before tracing)"}}, left)
		}
	}
	for _, f := range s.Families {
		if f.Balance != 0 {
			w.traces(&b, name+"@"+s.ID, name, f.Traces, left)
		}
	}
	if w.Form == Balance {
		fmt.Fprintf(&b, "balance for %s is %d\n", plain(name), balance)
	}
	return write(w.W, b.String())
}

func (w Forms) traces(b *strings.Builder, id, name string, traces []finding.Trace, left int64) {
	for _, t := range traces {
		switch {
		case w.Form == Balance:
			fmt.Fprintf(b, "Call trace for %s %+d at\n", plain(name), t.Count)
		case t.Count > 0:
			fmt.Fprintf(b, "ref_tracker: %s has %d/%d users at\n", plain(id), t.Count, left)
		default:
			continue // it lists who has a reference, not who had one
		}
		if len(t.Stack) == 0 {
			fmt.Fprintf(b, "     %s\n", plain(t.Place))
		}
		for _, frame := range t.Stack {
			fmt.Fprintf(b, "     %s\n", plain(frame))
		}
	}
}

func write(to io.Writer, text string) error {
	if text == "" {
		return nil
	}
	if _, err := io.WriteString(to, text); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}
