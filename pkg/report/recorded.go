// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
)

// Recorded is what is known of a recording when all of it was read.
type Recorded struct {
	Host     string // name and kernel
	From, To time.Time
	Zone     *time.Location // of the recording machine; nil: this one's
	Watched  []string
	Records  uint64
	Lost     map[string]uint64
	Unseen   []string
	Notes    []string // what is wrong with the file
}

// Incidents remembers of each incident what it is, and whether it is over.
type Incidents struct {
	states map[string]incident
	more   int // findings of incidents beyond incidentsMax
}

type incident struct {
	kind string // what it is or was, before it was over
	over bool
}

// incidentsMax bounds the incidents that are remembered.
const incidentsMax = 1 << 20

// harm is the kind of a finding that says more of an incident, not what it is.
const harm = "harm"

// Take takes note of a finding.
func (i *Incidents) Take(f *finding.Finding) {
	if i.states == nil {
		i.states = make(map[string]incident)
	}
	state, seen := i.states[f.ID]
	if !seen && len(i.states) >= incidentsMax {
		i.more++
		return
	}
	state.over = f.State == finding.Closed
	if !seen || !state.over && f.Kind != harm {
		state.kind = string(f.Class) + " " + f.Kind
	}
	i.states[f.ID] = state
}

// Verdict writes the three lines that a report begins with: what was found, how far
// that can be relied on, and what was recorded.
func (r Recorded) Verdict(w io.Writer, i *Incidents) error {
	var b strings.Builder
	fmt.Fprintf(&b, "found     %s\n", i.words())
	fmt.Fprintf(&b, "evidence  %s\n", r.evidence())
	fmt.Fprintf(&b, "recorded  %s\n", r.where())
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note      %s\n", n)
	}
	for _, u := range r.Unseen {
		fmt.Fprintf(&b, "unseen    %s\n", u)
	}
	_, err := io.WriteString(w, plainLines(b.String()))
	return err
}

func (i *Incidents) words() string {
	open, closed := make(map[string]int), make(map[string]int)
	for _, state := range i.states {
		if state.over {
			closed[state.kind]++
		} else {
			open[state.kind]++
		}
	}
	total := len(i.states)
	more := ""
	if i.more > 0 {
		more = fmt.Sprintf(", and %d findings of others", i.more)
	}
	switch {
	case total == 0:
		return "nothing"
	case len(open) == 0:
		return fmt.Sprintf("%s, over: %s%s", incidents(total), counts(closed), more)
	case len(closed) == 0:
		return fmt.Sprintf("%s: %s%s", incidents(total), counts(open), more)
	}
	return fmt.Sprintf("%s: %s; over: %s%s", incidents(total), counts(open), counts(closed), more)
}

func incidents(n int) string {
	if n == 1 {
		return "1 incident"
	}
	return fmt.Sprintf("%d incidents", n)
}

// counts words kinds with how many there are, the most first.
func counts(n map[string]int) string {
	kinds := slices.SortedFunc(maps.Keys(n), func(a, b string) int {
		return cmp.Or(cmp.Compare(n[b], n[a]), cmp.Compare(a, b))
	})
	for i, kind := range kinds {
		kinds[i] = fmt.Sprintf("%d %s", n[kind], kind)
	}
	return strings.Join(kinds, ", ")
}

func (r Recorded) evidence() string {
	if len(r.Lost) == 0 {
		return fmt.Sprintf("nothing was lost (%d records)", r.Records)
	}
	return fmt.Sprintf("lost %s (of %d records)", lost(r.Lost), r.Records)
}

func (r Recorded) where() string {
	text := r.Host
	if !r.From.IsZero() {
		zone := r.Zone
		if zone == nil {
			zone = time.Local
		}
		from := r.From.In(zone)
		text += ", " + from.Format("2006-01-02 15:04:05 MST")
		if r.To.After(r.From) {
			text += fmt.Sprintf(" for %s", round(r.To.Sub(r.From)))
		}
	}
	if len(r.Watched) > 0 {
		text += "; " + strings.Join(r.Watched, ", ")
	}
	return text
}

// plainLines is plain for text of several lines.
func plainLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = plain(lines[i])
	}
	return strings.Join(lines, "\n")
}
