// SPDX-License-Identifier: Apache-2.0

package refs

import (
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// Statement is a device's references as the ledger has them. Its JSON form is a
// contract, as that of findings: docs/refs.md.
type Statement struct {
	Time   time.Time       `json:"time"`
	Device *finding.Device `json:"device,omitempty"` // nil: not known, like Netns
	Netns  *finding.Netns  `json:"netns,omitempty"`
	// ID stands for the net_device's address, which it does not tell.
	ID string `json:"id"`
	// Since is when counting began.
	Since time.Time `json:"since"`
	// UsageCount is the kernel's own number, References what it stands for.
	UsageCount *int64 `json:"usage_count,omitempty"` // nil: it changed while it was read
	References *int64 `json:"references,omitempty"`
	// Before are the references that it had when counting began.
	Before *int64 `json:"before_tracing,omitempty"`
	// Taken less Dropped is Balance.
	Taken   uint64 `json:"taken"`
	Dropped uint64 `json:"dropped"`
	Balance int64  `json:"balance"`
	// Unexplained is the kernel's own number less what it should be: 0, or something
	// was not seen.
	Unexplained *int64   `json:"unexplained,omitempty"`
	Families    []Family `json:"families"`
	// Partial: some places where references are taken or dropped are not watched.
	Partial bool `json:"partial,omitempty"`
}

// Family is what was taken and dropped for one purpose.
type Family struct {
	Name    string          `json:"name"`
	Taken   uint64          `json:"taken"`
	Dropped uint64          `json:"dropped"`
	Balance int64           `json:"balance"`
	Traces  []finding.Trace `json:"traces,omitempty"`
}

// NewStatement words a ledger with what is known.
func NewStatement(known *finding.Knowledge, l *record.RefLedger) Statement {
	s := Statement{
		Time: known.At(l.When()), Since: known.At(l.Generation), Partial: l.Partial,
		ID: finding.NewID(finding.Refs, l.Counter, l.Generation), Balance: l.Balance,
	}
	if l.Dev != 0 {
		s.Device = &finding.Device{Name: l.Name, Ifindex: l.Ifindex}
		s.Netns = known.Netns(l.Netns)
	}
	if l.Counted {
		count := l.Count
		s.UsageCount = &count
		if references, ok := known.References(int32(l.Count)); ok {
			s.References = &references
		}
	}
	if before, ok := known.References(int32(l.Before)); ok && l.Settled {
		s.Before = &before
	}
	if unexplained, ok := unexplained(l); ok {
		s.Unexplained = &unexplained
	}
	for _, a := range purposes(l) {
		f := Family{Name: a.family, Taken: a.holds, Dropped: a.puts, Balance: a.net()}
		for _, e := range holdsFirst(a.entries) {
			f.Traces = append(f.Traces, wordTrace(known, &e))
		}
		s.Taken += a.holds
		s.Dropped += a.puts
		s.Families = append(s.Families, f)
	}
	return s
}
