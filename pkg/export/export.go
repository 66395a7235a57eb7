// SPDX-License-Identifier: Apache-2.0

// Package export writes what a recording holds in the forms of other tools: JSON
// lines, Perfetto traces, pcapng and Parquet.
package export

import (
	"fmt"
	"io"
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/recording"
	"github.com/netns-trace/netns-trace/pkg/report"
)

// Writer takes in what a recording holds, in its order, and writes it. What it cannot
// write is told by Finish.
type Writer interface {
	// Record takes in a record, valid only during the call.
	Record(rec record.Record)
	// Finding takes in a finding. It comes after the record that it follows from.
	Finding(f *finding.Finding)
	// Finish writes the end. about is what is known of the recording then.
	Finish(about report.Recorded) error
}

// Formats are the names that New knows.
func Formats() []string { return []string{"jsonl", "perfetto", "pcapng", "parquet"} }

// New makes the writer of a format. known is filled by the same replay.
func New(format string, w io.Writer, start *recording.Start, known *finding.Knowledge) (Writer, error) {
	switch format {
	case "jsonl":
		return newJSONL(w, start, known), nil
	case "perfetto":
		return newPerfetto(w, start, known), nil
	case "pcapng":
		return newPcapng(w, start, known), nil
	case "parquet":
		return newParquet(w, start, known), nil
	}
	return nil, fmt.Errorf("no format %q", format)
}

// sink remembers the first failure to write.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) write(b []byte) {
	if s.err == nil {
		_, s.err = s.w.Write(b)
	}
}

func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
