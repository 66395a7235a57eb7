// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/netns-trace/netns-trace/pkg/probe"
)

func TestPlanText(t *testing.T) {
	fentry := probe.Way{Kind: probe.Fentry, Target: "free_netdev"}
	kprobe := probe.Way{Kind: probe.Kprobe, Target: "free_netdev"}
	for _, test := range []struct {
		name    string
		outcome probe.Outcome
		want    string // spaces made one
	}{
		{
			"the best way, and what the verifier did",
			probe.Outcome{Detector: "refs", Thing: "devices being freed", Way: &fentry, VerifiedInstructions: 126},
			"refs devices being freed fentry free_netdev (126 instructions verified)\n",
		},
		{
			"the second best, and why",
			probe.Outcome{
				Detector: "refs", Thing: "devices being freed", Way: &kprobe,
				Refused: []probe.Refusal{{Way: fentry, Reason: "no trampoline"}},
			},
			"refs devices being freed kprobe free_netdev\n not fentry free_netdev: no trampoline\n",
		},
		{
			"none",
			probe.Outcome{
				Detector: "refs", Thing: "devices being freed", Lost: "the end is noticed late",
				Refused: []probe.Refusal{{Way: fentry, Reason: "no trampoline"}, {Way: kprobe, Reason: "no kprobes"}},
			},
			"refs devices being freed not seen\n not fentry free_netdev: no trampoline\n not kprobe free_netdev: no kprobes\n",
		},
		{
			"a module that is not there",
			probe.Outcome{Detector: "csum", Thing: "packets being sent", WaitsFor: "veth"},
			"csum packets being sent when module veth is loaded\n",
		},
	} {
		var got strings.Builder
		for line := range strings.Lines(planText(probe.Plan{test.outcome})) {
			lead := ""
			if strings.HasPrefix(line, " ") {
				lead = " "
			}
			got.WriteString(lead + strings.Join(strings.Fields(line), " ") + "\n")
		}
		if got.String() != test.want {
			t.Errorf("%s:\n%s\nwant\n%s", test.name, &got, test.want)
		}
	}
}

func TestDiagnosisTellsYesFromNo(t *testing.T) {
	var out strings.Builder
	d := diagnosis{Version: "1.2", Promises: []promise{
		{Detector: "threads", Works: true, Text: "everything it looks for"},
		{Detector: "refs", Text: "tracing needs root"},
	}}
	if err := d.write(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"netns-trace 1.2\n", "\npromises\n  yes  threads  everything it looks for\n  no   refs     tracing needs root\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "attach plan") {
		t.Error("a plan, although nothing was tried")
	}
}
