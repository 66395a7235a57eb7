// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netns-trace/netns-trace/pkg/budget"
)

// A budget must not leave out the last class that the user wants, nor take a step that
// leaves out nothing.
func TestStepsLeaveAClass(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"", "no stacks, sampling, no probes of packets, references by search, threads only, no moves"},
		{"--only threads,csum", "no stacks, no probes of packets, threads only, no moves"},
		{"--only threads,refs", "no stacks, sampling, references by search, threads only, no moves"},
		{"--only threads,dst", "no stacks, threads only, no moves"},
		{"--only refs,csum", "no stacks, sampling, no probes of packets, references by search"},
		{"--only threads", "no stacks, threads only, no moves"},
		{"--only csum", ""},
		{"--only refs,dst", "no stacks, sampling, references by search"},
		{"--only refs --hot-sites", "no stacks, sampling, no probes of packets, references by search"},
		{"--only refs,csum --sample 1/4", "no stacks, sampling, no probes of packets, references by search"},
		{"--only refs,csum --sample 1/256", "no stacks, no probes of packets, references by search"},
		{"--refs search", "no stacks, no probes of packets, threads only, no moves"},
		{"--only refs --refs search", ""},
		{"--only refs,csum --refs sites", "no stacks, no probes of packets, references by search"},
	} {
		o := new(monitorOptions)
		if err := newMonitorFlags(o).Parse(strings.Fields(test.args)); err != nil {
			t.Fatal(err)
		}
		var got []string
		if slices.Contains(steps(&o.live, false), budget.BySearch) {
			t.Errorf("%q: references by search on a machine whose memory cannot be searched", test.args)
		}
		for _, step := range steps(&o.live, true) {
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
		{"--hot-sites", 0, "off [] hot true sample 1 refs auto"},
		{"--hot-sites", 1, "off [] hot true sample 1 refs auto"},
		{"--hot-sites", 2, "off [] hot true sample 64 refs auto"},
		{"--sample 1/4", 2, "off [] hot false sample 64 refs auto"},
		{"--sample 1/256", 2, "off [csum] hot false sample 256 refs auto"},
		{"--hot-sites", 3, "off [csum] hot false sample 64 refs auto"},
		{"--hot-sites --device veth1 --jump-sites", 4, "off [csum] hot false sample 1 refs search"},
		{"--hot-sites", 5, "off [csum refs dst] hot false sample 64 refs auto"},
	} {
		o := new(monitorOptions)
		if err := newMonitorFlags(o).Parse(append(strings.Fields(test.args), "--max-cpu", "1%")); err != nil {
			t.Fatal(err)
		}
		k := keeper{searchable: true}
		k.set(o)
		for i := range test.over {
			k.policy.Observe(1, time.Unix(int64(i), 0))
		}
		live := o.live
		k.leaveOut(&live)
		if err := live.check(); err != nil {
			t.Errorf("%q after %d: %v", test.args, test.over, err)
		}
		if got := fmt.Sprintf("off %v hot %v sample %d refs %s", live.leftOut, live.hotSites, live.sample.n(), live.refs); got != test.want {
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
