// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"io"
	"maps"
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
	stacks  map[string][]string // by incident: the first there was
	zone    Text
}

// Write takes in a finding. It implements Writer.
func (m *Mail) Write(f *finding.Finding) error {
	m.seen.Take(f)
	if m.stacks == nil {
		m.stacks = make(map[string][]string)
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
	all := m.seen.All()
	if len(all) > 0 {
		fmt.Fprintf(&b, "Subject: %s\n\n", plain(all[0].Summary))
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
	for n, f := range all {
		m.incident(&b, n+1, f)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (m *Mail) incident(b *strings.Builder, n int, f *finding.Finding) {
	fmt.Fprintf(b, "\n%d. %s, %s\n\n", n, m.seen.kinds[f.ID], f.State)
	mailLine(b, "", m.zone.clock(f.Time)+" "+f.Summary)
	if d := f.Device; d != nil && d.Ifindex != 0 {
		mailLine(b, "   device    ", fmt.Sprintf("%s, ifindex %d", d.Name, d.Ifindex))
	}
	if f.Netns != nil {
		mailLine(b, "   netns     ", f.Netns.String())
	}
	if p := f.Process; p != nil {
		mailLine(b, "   thread    ", fmt.Sprintf("%d (%s) of pid %d", p.TID, p.Comm, p.PID))
	}
	for _, fact := range f.Facts {
		mailLine(b, fmt.Sprintf("   %-10s", fact.Label), fact.Text)
	}
	mailLine(b, "   seen by   ", f.Evidence.How)
	if !f.Evidence.Complete {
		mailLine(b, "   incomplete", " lost so far: "+lost(f.Evidence.Lost))
	}
	if stack := m.stacks[f.ID]; len(stack) > 0 {
		b.WriteString("\n Call Trace:\n")
		for _, frame := range stack {
			fmt.Fprintf(b, "  %s\n", plain(frame))
		}
	}
}

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
