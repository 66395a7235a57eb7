// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/refs"
)

// Ledgers are the last ledger of each device that waited, for a report to begin with.
type Ledgers struct {
	devices map[uint64]*record.RefLedger // by Generation
	freed   map[uint64]bool
	order   []uint64
	of      map[uint64]uint64 // address of a device that waits to its generation
	more    int
}

const (
	// ledgersMax bounds the devices whose ledgers are kept.
	ledgersMax = 10_000
	// ledgersTold is how many are told, those that still wait first.
	ledgersTold = 10
)

// Observe takes in a record.
func (l *Ledgers) Observe(rec record.Record) {
	switch r := rec.(type) {
	case *record.RefLedger:
		if l.devices == nil {
			l.devices, l.freed, l.of = make(map[uint64]*record.RefLedger), make(map[uint64]bool), make(map[uint64]uint64)
		}
		if l.devices[r.Generation] == nil {
			if len(l.order) >= ledgersMax {
				l.more++
				return
			}
			l.order = append(l.order, r.Generation)
		}
		kept := *r
		l.devices[r.Generation], l.of[r.Dev] = &kept, r.Generation
	case *record.DevFree:
		if generation, ok := l.of[r.Dev]; ok {
			l.freed[generation] = true
			delete(l.of, r.Dev)
		}
	}
}

// Write writes a line for each: what its references were taken for.
func (l *Ledgers) Write(w io.Writer, known *finding.Knowledge) error {
	var lines []string
	for _, freed := range []bool{false, true} {
		for _, generation := range l.order {
			if l.freed[generation] == freed {
				lines = append(lines, "ledger    "+wordLedger(refs.NewStatement(known, l.devices[generation]), freed))
			}
		}
	}
	if more := len(lines) - ledgersTold + l.more; more > 0 && len(lines) > ledgersTold {
		lines = append(lines[:ledgersTold], fmt.Sprintf("ledger    and %d more devices", more))
	}
	if len(lines) == 0 {
		return nil
	}
	_, err := io.WriteString(w, plainLines(strings.Join(lines, "\n")+"\n"))
	return err
}

func wordLedger(s refs.Statement, freed bool) string {
	text := "a device of which no name is known"
	if s.Device != nil {
		text = s.Device.Name
		if s.Netns != nil {
			text += " of netns " + s.Netns.String()
		}
	}
	if freed {
		text += ", freed: at last"
	} else {
		text += ":"
	}
	var parts []string
	if s.Before != nil && *s.Before != 0 {
		parts = append(parts, fmt.Sprintf("%d from before", *s.Before))
	}
	for _, f := range s.Families {
		if f.Balance != 0 {
			parts = append(parts, fmt.Sprintf("%+d %s", f.Balance, refs.PurposeWords(f.Name)))
		}
	}
	if len(parts) == 0 {
		parts = []string{"nothing left"}
	}
	text += fmt.Sprintf(" %s (%d taken, %d dropped", strings.Join(parts, ", "), s.Taken, s.Dropped)
	if s.Unexplained != nil && *s.Unexplained != 0 {
		text += fmt.Sprintf("; %+d unexplained", *s.Unexplained)
	}
	if s.Partial {
		text += "; not all sites are watched"
	}
	return text + ")"
}
