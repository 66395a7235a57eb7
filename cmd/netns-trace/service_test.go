// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/incident"
	"github.com/netns-trace/netns-trace/pkg/metrics"
	"github.com/netns-trace/netns-trace/pkg/monitor"
	"github.com/netns-trace/netns-trace/pkg/otlp"
)

// lineCounter counts the lines of a log, by what they say.
type lineCounter struct{ opened, overflow, bytes int }

func (c *lineCounter) Write(line []byte) (int, error) {
	c.bytes += len(line)
	switch {
	case bytes.Contains(line, []byte(`"incident opened"`)):
		c.opened++
	case bytes.Contains(line, []byte(`too many incidents`)):
		c.overflow++
	}
	return len(line), nil
}

// flooded is a service without tracing, whose collector is not there.
func flooded(t *testing.T, log *slog.Logger) *service {
	t.Helper()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := nobody.Addr().String()
	nobody.Close()
	s := &service{options: &monitorOptions{settle: time.Minute, quietAfter: time.Minute}, log: log, metrics: metrics.New("v0")}
	s.otlp, err = otlp.New(otlp.Options{Endpoint: "http://" + address, Gatherer: s.metrics.Gatherer(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.sinks = []incident.Sink{&monitor.Log{Logger: log}, s.metrics, s.otlp}
	s.book = incident.NewBook(s.options.bookOptions(), s.tell)
	return s
}

// one of many: every other is a new device held in a new place, the rest is a device
// held by what has been seen before.
func one(i int, at time.Time) *finding.Finding {
	place := i
	if i%2 == 1 {
		place = 0
	}
	return &finding.Finding{
		ID: fmt.Sprint("refs-", i), State: finding.Opened, Class: finding.Refs, Kind: "waiting", Time: at, Count: 1,
		Summary: fmt.Sprintf("veth%d waits in unregistration: 1 reference left", i),
		Device:  &finding.Device{Name: fmt.Sprint("veth", i)},
		Stack:   []string{fmt.Sprintf("place_%d+0x10/0x20 [module]", place), "do_syscall_64+0x5b/0x80"},
		Details: map[string]any{"holders": map[string]int{fmt.Sprint("family", i): 1}},
	}
}

// 100,000 findings in a minute, of 50,000 incidents, and the collector is down: memory
// stays bounded, and each finding is counted somewhere.
func TestAFloodOfFindingsIsCountedInBoundedMemory(t *testing.T) {
	const all = 100_000
	var lines lineCounter
	s := flooded(t, slog.New(slog.NewJSONHandler(&lines, nil)))
	start := time.Unix(1_000_000, 0)
	half := uint64(0)
	for i := range all {
		at := start.Add(time.Duration(i) * time.Minute / all)
		if err := s.Write(one(i, at)); err != nil {
			t.Fatal(err)
		}
		if i == all/2 {
			half = liveHeap()
		}
	}
	full := liveHeap()
	t.Logf("after 50,000 findings %d KB are live, after 100,000 %d KB; %d KB of log", half>>10, full>>10, lines.bytes>>10)
	if full > 64<<20 || full > half+4<<20 {
		t.Errorf("memory grows with findings: %d bytes after a half, %d after all", half, full)
	}

	m := scrape(t, s.metrics)
	if got := m[`netns_trace_findings_total{class="refs",kind="waiting"}`]; got != all {
		t.Errorf("%v findings are counted, want %d", got, all)
	}
	opened, overflow := m[`netns_trace_incidents_total{class="refs",kind="waiting"}`], m["netns_trace_incidents_overflow_total"]
	if opened != 1024 || lines.opened != 1024 {
		t.Errorf("%v incidents are counted as begun, %d are in the log, want the bound of 1024", opened, lines.opened)
	}
	// Those of place 0 belong to an incident that is known.
	if want := float64(all/2 - 1024); overflow != want {
		t.Errorf("%v findings beyond the bound are counted, want %v", overflow, want)
	}
	if lines.overflow != 1 {
		t.Errorf("the log says %d times in a minute that there are too many, want 1", lines.overflow)
	}
	if waiting, untracked := m[`netns_trace_waiting_devices{device_kind="veth"}`], m["netns_trace_untracked_findings_total"]; waiting+untracked != all {
		t.Errorf("of %d devices %v are followed and %v are counted as not followed", all, waiting, untracked)
	}
	// All logs that could not be sent are told as lost, none else.
	if err := s.otlp.Close(); err == nil {
		t.Error("closing says nothing of logs that were not sent")
	}
	if got := s.otlp.Lost(); got != 1024 {
		t.Errorf("%d logs are counted as lost, want 1024", got)
	}
}

// liveHeap is what is reachable.
func liveHeap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// scrape reads all metrics as Prometheus does.
func scrape(t *testing.T, m *metrics.Metrics) map[string]float64 {
	t.Helper()
	server, err := m.Serve(metrics.ServerOptions{
		Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler),
		Healthy: func() error { return nil }, Ready: func() error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	resp, err := http.Get("http://" + server.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	out := make(map[string]float64)
	for line := range strings.Lines(text.String()) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			out[name] = v
		}
	}
	return out
}
