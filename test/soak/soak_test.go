// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"testing"
	"time"
)

func TestMetricsAreReadByNameAndLabel(t *testing.T) {
	m, err := parseMetrics(`# HELP netns_trace_lost_total What was lost.
netns_trace_lost_total{cause="missed",class="refs"} 3
netns_trace_lost_total{cause="ring_full",class="threads"} 4
netns_trace_lost_total_other 100
netns_trace_budget_step 2
process_resident_memory_bytes 4.5e+07
`)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.sum("netns_trace_lost_total"); got != 7 {
		t.Errorf("lost %g, want 7", got)
	}
	if got := m.sum("netns_trace_lost_total", `class="refs"`); got != 3 {
		t.Errorf("of refs %g, want 3", got)
	}
	if m["netns_trace_budget_step"] != 2 || m["process_resident_memory_bytes"] != 45e6 {
		t.Errorf("%v", m)
	}
	if _, err := parseMetrics("netns_trace_x many\n"); err == nil {
		t.Error("a value that is no number was taken")
	}
}

// A process that takes a megabyte more each hour must not look flat, and one that goes
// up and down must.
func TestSlope(t *testing.T) {
	resident := func(s sample) float64 { return s.process }
	var grows, swings []sample
	for i := range 100 {
		at := time.Duration(i) * sampleEvery
		grows = append(grows, sample{at: at, process: 40e6 + 1e6*at.Hours()})
		swings = append(swings, sample{at: at, process: 40e6 + 1e6*float64(i%2)})
	}
	if got := slope(grows, resident) * 3600; math.Abs(got-1e6) > 1 {
		t.Errorf("%g bytes an hour, want 1e6", got)
	}
	if got := slope(swings, resident) * 3600; math.Abs(got) > 2e5 {
		t.Errorf("%g bytes an hour of one that swings", got)
	}
	if got := slope(grows[:1], resident); got != 0 {
		t.Errorf("of one sample %g", got)
	}
}

func TestRatesAreLines(t *testing.T) {
	var r rates
	for _, part := range []string{"1", "0\n20\n3", "0\n"} {
		if _, err := r.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.last(2); got != 25 {
		t.Errorf("%g a second, want 25", got)
	}
}

func FuzzMetrics(f *testing.F) {
	f.Add("netns_trace_lost_total{cause=\"missed\"} 3\n# HELP x\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseMetrics(text)
		if err == nil && m.sum("netns_trace_lost_total") != 0 && len(m) == 0 {
			t.Error("a sum of nothing")
		}
	})
}
