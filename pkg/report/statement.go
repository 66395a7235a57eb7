// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/refs"
)

// StatementWriter shows the ledgers of devices one by one.
type StatementWriter interface {
	Statement(s *refs.Statement) error
}

// Statement writes one line.
func (j JSON) Statement(s *refs.Statement) error {
	line, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("writing a statement as JSON: %w", err)
	}
	return write(j.W, string(line)+"\n")
}

// Statement writes what a device's references were taken for: the families that have
// some left, each with its call traces, and in one line those that are balanced.
func (t Text) Statement(s *refs.Statement) error {
	var b strings.Builder
	name := "a device without a known name"
	if s.Device != nil {
		name = plain(fmt.Sprintf("%s (ifindex %d) of netns %s", s.Device.Name, s.Device.Ifindex, s.Netns))
	}
	b.WriteString(t.paint(bold, name) + "\n")
	count := "not known: it changed while it was read"
	if s.UsageCount != nil {
		count = fmt.Sprintf("the kernel's usage count is %d", *s.UsageCount)
		if s.References != nil {
			count = fmt.Sprintf("%d (%s)", *s.References, count)
		}
	}
	t.line(&b, "references", count)
	before := "not known"
	if s.Before != nil {
		before = fmt.Sprintf("%d when counting began, at %s", *s.Before, s.Since.Local().Format("15:04:05.000"))
	}
	t.line(&b, "before", before)
	t.line(&b, "since", fmt.Sprintf("%d taken, %d dropped: %+d", s.Taken, s.Dropped, s.Balance))
	if s.Unexplained != nil {
		t.line(&b, "unexplained", fmt.Sprintf("%d", *s.Unexplained))
	}
	if s.Partial {
		t.line(&b, "incomplete", "some places where references are taken or dropped are not watched")
	}
	var balanced []string
	for _, f := range s.Families {
		if f.Balance == 0 {
			balanced = append(balanced, fmt.Sprintf("%s (%d)", f.Name, f.Taken))
			continue
		}
		t.line(&b, fmt.Sprintf("%+d", f.Balance), fmt.Sprintf("%s: %d taken, %d dropped", f.Name, f.Taken, f.Dropped))
		t.statementTraces(&b, f.Traces)
	}
	if len(balanced) > 0 {
		t.line(&b, "balanced", strings.Join(balanced, ", "))
	}
	b.WriteByte('\n')
	return write(t.W, b.String())
}

// tracesShort is how many call traces of a family are shown without Verbose.
const tracesShort = 4

func (t Text) statementTraces(b *strings.Builder, traces []finding.Trace) {
	show := traces
	if !t.Verbose {
		show = traces[:min(len(traces), tracesShort)]
	}
	for _, trace := range show {
		text := fmt.Sprintf("%+d %s", trace.Count, trace.Place)
		if trace.Comm != "" {
			text += fmt.Sprintf(", first by %s (pid %d) at %s", trace.Comm, trace.PID, trace.First.Local().Format("15:04:05.000"))
		}
		t.line(b, "", text)
		if t.Verbose {
			for _, frame := range trace.Stack {
				t.line(b, "", "    "+frame)
			}
		}
	}
	if n := len(traces) - len(show); n > 0 {
		t.line(b, "", fmt.Sprintf("and %d more call traces (--verbose shows them)", n))
	}
}
