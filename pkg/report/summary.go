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

// Tally counts incidents for the last summary.
type Tally struct {
	incidents int
	kinds     map[string]int // "class kind" to how many incidents opened so
}

// Count takes note of a finding; an incident counts when it is opened.
func (t *Tally) Count(f *finding.Finding) {
	if f.State != finding.Opened {
		return
	}
	if t.kinds == nil {
		t.kinds = make(map[string]int)
	}
	t.incidents++
	t.kinds[string(f.Class)+" "+f.Kind]++
}

// Incidents is how many there were.
func (t *Tally) Incidents() int { return t.incidents }

// Kinds is how many incidents were opened by a finding of this class and kind.
func (t *Tally) Kinds(class, kind string) int { return t.kinds[class+" "+kind] }

// ByKind is how many incidents opened so, by "class kind".
func (t *Tally) ByKind() map[string]int { return t.kinds }

// Summary is what is said when tracing ends.
type Summary struct {
	Watched  []string // what was watched, in words
	Duration time.Duration
	Records  uint64
	Lost     map[string]uint64
	Unseen   []string // what could not be seen on this kernel
}

// Write writes the summary after a tally.
func (s Summary) Write(w io.Writer, t *Tally) error {
	var b strings.Builder
	fmt.Fprintf(&b, "watched %s for %s\n", strings.Join(s.Watched, ", "), round(s.Duration))
	fmt.Fprintf(&b, "found   %s\n", t.words())
	if len(s.Lost) == 0 {
		fmt.Fprintf(&b, "lost    nothing (%d records)\n", s.Records)
	} else {
		fmt.Fprintf(&b, "lost    %s (of %d records read)\n", lost(s.Lost), s.Records)
	}
	for _, u := range s.Unseen {
		fmt.Fprintf(&b, "unseen  %s\n", u)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *Tally) words() string {
	if len(t.kinds) == 0 {
		return "nothing"
	}
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(t.kinds)) {
		parts = append(parts, fmt.Sprintf("%d %s", t.kinds[kind], kind))
	}
	return strings.Join(parts, ", ")
}

func lost[N int64 | uint64](counts map[string]N) string {
	var parts []string
	for _, cause := range slices.SortedFunc(maps.Keys(counts), cmp.Compare[string]) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[cause], cause))
	}
	return strings.Join(parts, ", ")
}

func round(d time.Duration) time.Duration {
	if d < time.Minute {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}
