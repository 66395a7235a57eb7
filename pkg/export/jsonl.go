// SPDX-License-Identifier: Apache-2.0

package export

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/recording"
	"github.com/netns-trace/netns-trace/pkg/report"
)

// jsonl writes a line of JSON for the start, each record, each finding and the end.
// docs/export.schema.json describes them.
type jsonl struct {
	sink
	words *worder
	known *finding.Knowledge
}

// The lines. Keys are added, never renamed or removed.
type (
	startLine struct {
		Line    string           `json:"line"`
		Tool    string           `json:"tool"`
		Time    string           `json:"time"`
		Host    recording.Host   `json:"host"`
		Clock   recording.Clocks `json:"clock"`
		Config  recording.Config `json:"config"`
		Watched []string         `json:"watched,omitempty"`
		Unseen  []string         `json:"unseen,omitempty"`
		Plan    json.RawMessage  `json:"plan,omitempty"`
	}
	recordLine struct {
		Line   string         `json:"line"`
		Time   string         `json:"time"`
		Mono   uint64         `json:"monotonic_ns"`
		Record string         `json:"record"`
		Fields map[string]any `json:"fields"`
	}
	findingLine struct {
		Line    string           `json:"line"`
		Finding *finding.Finding `json:"finding"`
	}
	endLine struct {
		Line    string            `json:"line"`
		Time    string            `json:"time"`
		Records uint64            `json:"records"`
		Lost    map[string]uint64 `json:"lost,omitempty"`
		Notes   []string          `json:"notes,omitempty"`
	}
)

func newJSONL(w io.Writer, start *recording.Start, known *finding.Knowledge) *jsonl {
	j := &jsonl{sink: sink{w: w}, words: newWorder(known), known: known}
	j.line(startLine{
		Line: "start", Tool: start.Tool, Time: timestamp(start.Written), Host: start.Host, Clock: start.Clock,
		Config: start.Config, Watched: start.Watched, Unseen: start.Unseen, Plan: start.Plan,
	})
	return j
}

func (j *jsonl) line(v any) {
	b, err := json.Marshal(v)
	if err != nil && j.err == nil {
		j.err = fmt.Errorf("writing a line of JSON: %w", err)
	}
	j.write(append(b, '\n'))
}

// Record implements Writer.
func (j *jsonl) Record(rec record.Record) {
	j.line(recordLine{
		Line: "record", Time: timestamp(j.known.At(rec.When())), Mono: rec.When(), Record: name(rec), Fields: j.words.fields(rec),
	})
}

// Finding implements Writer.
func (j *jsonl) Finding(f *finding.Finding) { j.line(findingLine{"finding", f}) }

// Finish implements Writer.
func (j *jsonl) Finish(about report.Recorded) error {
	j.line(endLine{Line: "end", Time: timestamp(about.To), Records: about.Records, Lost: about.Lost, Notes: about.Notes})
	return j.err
}
