// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/incident"
)

// messages are what a log says of events, by its level.
func messages(t *testing.T, level slog.Level, events ...*incident.Event) []string {
	t.Helper()
	var b bytes.Buffer
	var v slog.LevelVar
	v.Set(level)
	l := &Log{Logger: NewLogger(&b, FormatJSON, &v)}
	for _, e := range events {
		l.Take(e)
	}
	var out []string
	for d := json.NewDecoder(&b); d.More(); {
		line := make(map[string]any)
		if err := d.Decode(&line); err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprint(line["level"], ": ", line["msg"], ": ", line["summary"], " ", line["device"]))
	}
	return out
}

func TestLog(t *testing.T) {
	f := &finding.Finding{
		ID: "refs-1", Class: finding.Refs, Kind: "waiting", Summary: "veth1 waits", Time: time.Unix(1, 0),
		Device: &finding.Device{Name: "veth1"}, Stack: []string{"a+0x1/0x2", "b+0x1/0x2"},
	}
	i := incident.Incident{Signature: "00", Class: finding.Refs, Kind: "waiting", Summary: f.Summary, Count: 1}
	event := func(c incident.Change) *incident.Event { return &incident.Event{Change: c, Incident: i, Finding: f} }
	all := []*incident.Event{
		event(incident.Opened), event(incident.Repeated), event(incident.Overflow), event(incident.Overflow),
		{Change: incident.Ended, Incident: i},
	}
	want := []string{
		"WARN: incident opened: veth1 waits veth1",
		"WARN: there are too many incidents to tell apart; this one and others are only counted: veth1 waits <nil>",
		"INFO: incident ended: veth1 waits <nil>",
	}
	if diff := cmp.Diff(want, messages(t, slog.LevelInfo, all...)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := messages(t, slog.LevelDebug, all...); len(got) != 4 {
		t.Errorf("at level debug: %q", got)
	}
}
