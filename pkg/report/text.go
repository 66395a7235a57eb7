// SPDX-License-Identifier: Apache-2.0

// Package report shows findings: to people as text, to programs as JSON.
package report

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/netns-trace/netns-trace/pkg/finding"
)

// Writer shows findings one by one, as they come.
type Writer interface {
	Write(f *finding.Finding) error
}

// Nothing shows none of them.
type Nothing struct{}

// Write implements Writer.
func (Nothing) Write(*finding.Finding) error { return nil }

// JSON writes one finding a line.
type JSON struct{ W io.Writer }

// Write implements Writer.
func (j JSON) Write(f *finding.Finding) error {
	line, err := f.Line()
	if err != nil {
		return fmt.Errorf("writing a finding as JSON: %w", err)
	}
	_, err = j.W.Write(line)
	return err
}

// Text writes a short block for each finding.
type Text struct {
	W       io.Writer
	Color   bool
	Verbose bool           // whole stacks
	Zone    *time.Location // of the times; nil: this machine's
}

const (
	labelWidth = 11
	// stackShort is how many frames of a stack are shown without Verbose: enough to
	// see who called, the rest is the same way into the kernel each time.
	stackShort = 8
)

// Write implements Writer.
func (t Text) Write(f *finding.Finding) error {
	var b strings.Builder
	at := t.clock(f.Time)
	fmt.Fprintf(&b, "%s  %s  %s\n", t.paint(dim, at), t.paint(colorOf(f), string(f.Class)+" "+f.Kind), plain(f.Summary))
	if f.State == finding.Opened {
		t.subject(&b, f)
	}
	for _, fact := range f.Facts {
		t.line(&b, fact.Label, fact.Text)
	}
	if f.State == finding.Opened || t.Verbose {
		t.stack(&b, "kernel", f.Stack)
		user, _ := f.Details["user_stack"].([]string)
		t.stack(&b, "user", user)
	}
	if !f.Evidence.Complete && len(f.Evidence.Lost) > 0 {
		t.line(&b, "incomplete", "lost so far: "+lost(f.Evidence.Lost))
	}
	if f.Evidence.Sampled != "" {
		t.line(&b, "sampled", f.Evidence.Sampled+" of the objects that hold devices")
	}
	b.WriteByte('\n')
	_, err := io.WriteString(t.W, b.String())
	return err
}

// State writes what is no finding, but was asked for: a sentence, and facts.
func (t Text) State(summary string, facts []finding.Fact) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", plain(summary))
	for _, fact := range facts {
		t.line(&b, fact.Label, fact.Text)
	}
	b.WriteByte('\n')
	_, err := io.WriteString(t.W, b.String())
	return err
}

// subject is who and where, for a finding that is told for the first time.
func (t Text) subject(b *strings.Builder, f *finding.Finding) {
	if p := f.Process; p != nil {
		text := fmt.Sprintf("thread %d (%s) of pid %d", p.TID, p.Comm, p.PID)
		if !p.Start.IsZero() {
			text += ", started " + t.clock(p.Start)
		}
		text += inContainer(p.Container, p.ContainerName)
		t.line(b, "thread", text)
	}
	if d := f.Device; d != nil {
		text := d.Name
		if d.Ifindex != 0 {
			text += fmt.Sprintf(", ifindex %d", d.Ifindex)
		}
		t.line(b, "device", text)
	}
	if n := f.Netns; n != nil {
		text := n.String()
		if n.Cookie != 0 {
			text += fmt.Sprintf(", cookie %d", n.Cookie)
		}
		t.line(b, "netns", text+inContainer(n.Container, n.ContainerName))
	}
}

func (t Text) clock(at time.Time) string {
	if t.Zone == nil {
		at = at.Local()
	} else {
		at = at.In(t.Zone)
	}
	return at.Format("15:04:05.000")
}

func inContainer(id, name string) string {
	switch {
	case id == "":
		return ""
	case name == "":
		return fmt.Sprintf(", container %.12s", id)
	}
	return fmt.Sprintf(", container %s (%.12s)", name, id)
}

func (t Text) stack(b *strings.Builder, label string, frames []string) {
	for i, frame := range frames {
		if i == stackShort && !t.Verbose && len(frames) > stackShort+1 {
			t.line(b, "", fmt.Sprintf("… %d more (--verbose shows them)", len(frames)-i))
			return
		}
		t.line(b, label, frame)
		label = ""
	}
}

func (t Text) line(b *strings.Builder, label, text string) {
	fmt.Fprintf(b, "    %s%s%s\n", t.paint(dim, label), strings.Repeat(" ", max(1, labelWidth-len(label))), plain(text))
}

// plain keeps what a process can choose, such as its name, from steering the
// terminal.
func plain(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\ufffd'
	}, s)
}

type color string

const (
	dim    color = "2"
	bold   color = "1"
	red    color = "1;31"
	yellow color = "1;33"
	green  color = "32"
)

func colorOf(f *finding.Finding) color {
	switch f.State {
	case finding.Closed:
		return green
	case finding.Opened:
		return red
	}
	return yellow
}

func (t Text) paint(c color, s string) string {
	if !t.Color || s == "" {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}
