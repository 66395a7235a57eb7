// SPDX-License-Identifier: Apache-2.0

package report

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"strings"
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/timeline"
)

// The page is one file: its parts are put together here, and it loads nothing.
var (
	//go:embed page/page.html
	pageHTML string
	//go:embed page/style.css
	pageStyle string
	//go:embed page/model.js
	pageModel string
	//go:embed page/canvas.js
	pageCanvas string
	//go:embed page/findings.js
	pageFindings string
	//go:embed page/threads.js
	pageThreads string
	//go:embed page/charts.js
	pageCharts string
	//go:embed page/devices.js
	pageDevices string
	//go:embed page/main.js
	pageMain string
)

// Page is the report of a recording as one HTML file.
type Page struct {
	about    Recorded
	known    *finding.Knowledge
	timeline *timeline.Timeline
	verdict  Incidents
	findings []pageFinding
	stacks   map[string]int
	stack    [][]string
	dropped  int
}

// pageFindingsMax bounds the findings in a page; a browser shows so many with ease.
const pageFindingsMax = 200_000

// NewPage makes a page that words things with known.
func NewPage(known *finding.Knowledge, t *timeline.Timeline) *Page {
	return &Page{known: known, timeline: t, stacks: make(map[string]int)}
}

// pageFinding is a finding as the page has it. Times are ms since the beginning.
type pageFinding struct {
	ID      string      `json:"id"`
	State   string      `json:"state"`
	Class   string      `json:"class"`
	Kind    string      `json:"kind"`
	At      float64     `json:"at"`
	Summary string      `json:"summary"`
	Facts   [][2]string `json:"facts,omitempty"`
	Kernel  int         `json:"kernel,omitempty"` // index of stacks, from 1
	User    int         `json:"user,omitempty"`
	Lost    string      `json:"lost,omitempty"`
	How     string      `json:"how,omitempty"`
	Netns   uint32      `json:"netns,omitempty"`
	TID     uint32      `json:"tid,omitempty"`
	Device  string      `json:"device,omitempty"`
}

// Write takes in a finding. It implements Writer.
func (p *Page) Write(f *finding.Finding) error {
	p.verdict.Take(f)
	if len(p.findings) >= pageFindingsMax {
		p.dropped++
		return nil
	}
	out := pageFinding{
		ID: f.ID, State: string(f.State), Class: string(f.Class), Kind: f.Kind, At: p.calendar(f.Time),
		Summary: f.Summary, Kernel: p.stackOf(f.Stack), How: f.Evidence.How,
	}
	for _, fact := range f.Facts {
		out.Facts = append(out.Facts, [2]string{fact.Label, fact.Text})
	}
	user, _ := f.Details["user_stack"].([]string)
	out.User = p.stackOf(user)
	if !f.Evidence.Complete {
		out.Lost = lost(f.Evidence.Lost)
	}
	if f.Netns != nil {
		out.Netns = f.Netns.Inode
	}
	if f.Process != nil {
		out.TID = f.Process.TID
	}
	if f.Device != nil {
		out.Device = f.Device.Name
	}
	p.findings = append(p.findings, out)
	return nil
}

// stackOf keeps each stack once.
func (p *Page) stackOf(frames []string) int {
	if len(frames) == 0 {
		return 0
	}
	key := strings.Join(frames, "\n")
	if p.stacks[key] == 0 {
		p.stack = append(p.stack, frames)
		p.stacks[key] = len(p.stack)
	}
	return p.stacks[key]
}

func (p *Page) calendar(t time.Time) float64 {
	return ms(t.Sub(p.known.At(p.timeline.Begin)))
}

// Finish writes the page.
func (p *Page) Finish(w io.Writer, about Recorded) error {
	p.about = about
	p.timeline.Finish()
	data, err := json.Marshal(p.model()) // which escapes <, > and &
	if err != nil {
		return fmt.Errorf("putting the page together: %w", err)
	}
	var verdict strings.Builder
	if err := about.Verdict(&verdict, &p.verdict); err != nil {
		return err
	}
	_, err = strings.NewReplacer(
		"{{TITLE}}", html.EscapeString("netns-trace: "+about.Host),
		"{{VERDICT}}", html.EscapeString(verdict.String()),
		"{{STYLE}}", pageStyle,
		"{{SCRIPT}}", strings.Join([]string{pageModel, pageCanvas, pageFindings, pageThreads, pageCharts, pageDevices, pageMain}, "\n"),
		"{{DATA}}", string(data),
	).WriteString(w, pageHTML)
	if err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d/time.Microsecond) / 1000 }
