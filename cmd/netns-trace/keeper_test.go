// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A budget must not leave out the last class that the user wants, nor take a step that
// leaves out nothing.
func TestStepsLeaveAClass(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"", "no stacks, sampling, no probes of packets, threads only"},
		{"--only threads,csum", "no probes of packets"},
		{"--only threads,refs", "no stacks, sampling, threads only"},
		{"--only threads,dst", "threads only"},
		{"--only refs,csum", "no stacks, sampling, no probes of packets"},
		{"--only threads", ""},
		{"--only csum", ""},
		{"--only refs,dst", "no stacks, sampling"},
		{"--only refs --hot-sites", "no stacks, sampling, no probes of packets"},
		{"--only refs,csum --sample 1/4", "no stacks, sampling, no probes of packets"},
		{"--only refs,csum --sample 1/256", "no stacks, no probes of packets"},
		{"--only refs,csum --refs sites", "no stacks, no probes of packets"},
	} {
		o := new(monitorOptions)
		if err := newMonitorFlags(o).Parse(strings.Fields(test.args)); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, step := range steps(&o.live) {
			got = append(got, step.String())
		}
		if strings.Join(got, ", ") != test.want {
			t.Errorf("%q: %s, want %s", test.args, strings.Join(got, ", "), test.want)
		}
	}
}

// What is left out follows from the step, and the user's own rate is never made denser.
func TestLeaveOut(t *testing.T) {
	for _, test := range []struct {
		args string
		over int // measurements over the limit
		want string
	}{
		{"--hot-sites", 0, "off [] hot true sample 1"},
		{"--hot-sites", 1, "off [] hot true sample 1"},
		{"--hot-sites", 2, "off [] hot true sample 64"},
		{"--sample 1/4", 2, "off [] hot false sample 64"},
		{"--sample 1/256", 2, "off [csum] hot false sample 256"},
		{"--hot-sites", 3, "off [csum] hot false sample 64"},
		{"--hot-sites", 4, "off [csum refs dst] hot false sample 64"},
	} {
		o := new(monitorOptions)
		if err := newMonitorFlags(o).Parse(append(strings.Fields(test.args), "--max-cpu", "1%")); err != nil {
			t.Fatal(err)
		}
		var k keeper
		k.set(o)
		for i := range test.over {
			k.policy.Observe(1, time.Unix(int64(i), 0))
		}
		live := o.live
		k.leaveOut(&live)
		if got := fmt.Sprintf("off %v hot %v sample %d", live.leftOut, live.hotSites, live.sample.n()); got != test.want {
			t.Errorf("%q after %d: %s, want %s", test.args, test.over, got, test.want)
		}
	}
}

func TestPercentage(t *testing.T) {
	for text, want := range map[string]percentage{"1%": 0.01, "0.5%": 0.005, "200%": 2, "": 0} {
		var p percentage
		if err := p.Set(text); err != nil || p != want {
			t.Errorf("%q is %v, %v", text, p, err)
		}
	}
	for _, text := range []string{"0%", "1", "-1%", "NaN%", "1e9%", "x%", "0"} {
		var p percentage
		if err := p.Set(text); err == nil {
			t.Errorf("%q was taken: %v", text, p)
		}
	}
}
