// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/finding"
)

// mailWidth is how wide text in a mail to a kernel list may be. Frames of stacks are
// not cut: scripts read them.
const mailWidth = 75

// Mail is a report as the body of a mail to a kernel list: plain text, stacks that
// scripts/decode_stacktrace.sh reads.
type Mail struct {
	Tool    string
	Kernel  string            // release and machine
	Version string            // the kernel's, of its build
	Config  map[string]string // of the kernel's configuration
	seen    Incidents
	order   []string                    // of incidents
	main    map[string]*finding.Finding // what each incident is or was
	over    map[string]*finding.Finding // how it ended
	stacks  map[string][]string         // by incident: the first there was
	zone    Text
}

// mailMost is how many incidents a mail tells of. Nobody reads more.
const mailMost = 500

// Write takes in a finding. It implements Writer.
func (m *Mail) Write(f *finding.Finding) error {
	m.seen.Take(f)
	if m.main == nil {
		m.main, m.over, m.stacks = make(map[string]*finding.Finding), make(map[string]*finding.Finding), make(map[string][]string)
	}
	first := m.main[f.ID] == nil
	if first {
		if len(m.order) >= mailMost {
			return nil
		}
		m.order = append(m.order, f.ID)
	}
	switch {
	case f.State == finding.Closed:
		m.over[f.ID] = f
	case first || f.Kind != harm:
		m.main[f.ID] = f
		delete(m.over, f.ID)
	}
	if first && m.main[f.ID] == nil {
		m.main[f.ID] = f
	}
	if len(f.Stack) > 0 && m.stacks[f.ID] == nil {
		m.stacks[f.ID] = f.Stack
	}
	return nil
}

// Finish writes the mail.
func (m *Mail) Finish(w io.Writer, about Recorded) error {
	m.zone.Zone = about.Zone
	var b strings.Builder
	// What is still so comes first.
	slices.SortStableFunc(m.order, func(a, b string) int { return isOver(m.over[a]) - isOver(m.over[b]) })
	if len(m.order) > 0 {
		fmt.Fprintf(&b, "Subject: %s\n\n", plain(m.main[m.order[0]].Summary))
	}
	head := func(label, text string) { mailLine(&b, fmt.Sprintf("%-10s", label+":"), text) }
	head("Kernel", m.Kernel)
	head("Build", m.Version)
	for _, key := range slices.Sorted(maps.Keys(m.Config)) {
		head("Config", key+"="+m.Config[key])
	}
	head("Found", m.seen.words())
	head("Evidence", about.evidence())
	head("Recorded", about.where())
	head("With", "netns-trace "+m.Tool)
	for _, n := range slices.Concat(about.Notes, about.Unseen) {
		head("Note", n)
	}
	for n, id := range m.order {
		m.incident(&b, n+1, m.main[id])
	}
	if more := len(m.seen.states) - len(m.order); more > 0 {
		fmt.Fprintf(&b, "\n%d more incidents are in the recording\n", more)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func isOver(f *finding.Finding) int {
	if f != nil {
		return 1
	}
	return 0
}

func (m *Mail) incident(b *strings.Builder, n int, f *finding.Finding) {
	fmt.Fprintf(b, "\n%d. %s\n\n", n, m.seen.states[f.ID].kind)
	mailLine(b, "", m.zone.clock(f.Time)+" "+f.Summary)
	if over := m.over[f.ID]; over != nil {
		mailLine(b, "", m.zone.clock(over.Time)+" "+over.Summary)
	}
	if d := f.Device; d != nil && d.Ifindex != 0 {
		mailLine(b, "   device     ", fmt.Sprintf("%s, ifindex %d", d.Name, d.Ifindex))
	}
	if f.Netns != nil {
		mailLine(b, "   netns      ", f.Netns.String())
	}
	if p := f.Process; p != nil {
		mailLine(b, "   thread     ", fmt.Sprintf("%d (%s) of pid %d", p.TID, p.Comm, p.PID))
	}
	for _, fact := range f.Facts {
		if len(f.Traces) == 0 || !counted.MatchString(fact.Label) { // else it is below, as a stack
			mailLine(b, fmt.Sprintf("   %-10s ", fact.Label), fact.Text)
		}
	}
	mailLine(b, "   seen by    ", f.Evidence.How)
	if !f.Evidence.Complete && len(f.Evidence.Lost) > 0 {
		mailLine(b, "   incomplete ", "lost so far: "+lost(f.Evidence.Lost))
	}
	if f.Evidence.Sampled != "" {
		mailLine(b, "   sampled    ", f.Evidence.Sampled+" of the objects that hold devices")
	}
	if stack := m.stacks[f.ID]; len(stack) > 0 {
		mailStack(b, stack)
		return
	}
	for _, t := range f.Traces {
		b.WriteString("\n")
		mailLine(b, "   ", takenOrDropped(t))
		mailStack(b, t.Stack)
	}
}

// counted is the label of a fact that is a call trace on one line.
var counted = regexp.MustCompile(`^[+-][0-9]+$`)

func takenOrDropped(t finding.Trace) string {
	n, what := t.Count, "taken"
	if n < 0 {
		n, what = -n, "dropped"
	}
	text := fmt.Sprintf("%d %s at %s", n, what, t.Place)
	if t.Comm != "" {
		text += fmt.Sprintf(", by %s (pid %d)", t.Comm, t.PID)
	}
	return text
}

func mailStack(b *strings.Builder, stack []string) {
	if len(stack) == 0 {
		return
	}
	b.WriteString("\n Call Trace:\n")
	for _, frame := range stack {
		fmt.Fprintf(b, "  %s\n", plain(rawAddress.ReplaceAllString(frame, "")))
	}
}

// rawAddress is what --raw-addresses adds to a frame: scripts take it for the symbol.
var rawAddress = regexp.MustCompile(` 0x[0-9a-f]+$`)

// mailLine writes a text after a label, cut into lines between its words.
func mailLine(b *strings.Builder, label, text string) {
	if text = plain(text); strings.TrimSpace(text) == "" {
		return
	}
	line := label
	empty := true
	for _, word := range strings.Fields(text) {
		if !empty && len([]rune(line))+1+len([]rune(word)) > mailWidth {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line, empty = strings.Repeat(" ", len(label)), true
		}
		if !empty {
			line += " "
		}
		line += word
		empty = false
	}
	b.WriteString(line + "\n")
}
