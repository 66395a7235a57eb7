// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/refs"
)

func at(seconds int) time.Time { return time.Unix(int64(seconds), 0) }

// A device that a socket holds, and another trace that took and gave back: as live
// tracing finds it.
func heldDevice() []*finding.Finding {
	device := &finding.Device{Name: "veth1", Ifindex: 7}
	waiting := map[string]any{"waiting": "refs-1", "left": int64(2)}
	return []*finding.Finding{
		{ID: "refs-1", State: finding.Opened, Class: finding.Refs, Kind: refs.KindWaiting, Time: at(1), Device: device, Count: 2},
		{
			ID: "refs-2", State: finding.Opened, Class: finding.Refs, Kind: refs.KindHolder, Time: at(1), Device: device, Count: 1, Details: waiting,
			Traces: []finding.Trace{{Count: 1, Place: "llc_ui_bind+0x13c [llc2]", Stack: []string{"llc_ui_bind+0x13d/0x300 [llc2]", "__sys_bind+0xf0/0x110"}}},
		},
		{
			ID: "refs-3", State: finding.Opened, Class: finding.Refs, Kind: refs.KindHolder, Time: at(1), Device: device, Count: 1, Details: waiting,
			Traces: []finding.Trace{{Count: 2, Place: "bond_enslave+0x1", Stack: nil}, {Count: -1, Place: "bond_release+0x1"}},
		},
	}
}

func closed(f *finding.Finding, t time.Time) *finding.Finding {
	c := *f
	c.State, c.Time, c.Traces, c.Count = finding.Closed, t, nil, 0
	return &c
}

const (
	wantTracker = `ref_tracker: veth1@refs-1 has 1/2 users at
     llc_ui_bind+0x13d/0x300 [llc2]
     __sys_bind+0xf0/0x110
ref_tracker: veth1@refs-1 has 2/2 users at
     bond_enslave+0x1
`
	wantTraces = `Call trace for veth1 +1 at
     llc_ui_bind+0x13d/0x300 [llc2]
     __sys_bind+0xf0/0x110
Call trace for veth1 +2 at
     bond_enslave+0x1
Call trace for veth1 -1 at
     bond_release+0x1
`
	wantBalance = "balance for veth1 is 2\n"
)

func TestForms(t *testing.T) {
	for form, want := range map[Form]string{RefTracker: wantTracker, Balance: wantBalance + wantTraces} {
		var out strings.Builder
		w := Forms{W: &out, Form: form}
		other := &finding.Finding{Class: finding.Threads, Kind: "stranded", State: finding.Opened, Device: &finding.Device{Name: "x"}}
		for _, f := range append(heldDevice(), other) {
			if err := w.Write(f); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", form, diff)
		}
	}
}

func TestReferencesAreThoseThatWereHeldToTheEnd(t *testing.T) {
	all := heldDevice()
	all = append(all, closed(all[2], at(5))) // it let go; the socket is closed with the device
	released := closed(all[0], at(9))
	released.Kind = refs.KindReleased
	all = append(all, closed(all[1], at(9)), released)
	const tracker = "ref_tracker: veth1@refs-1 has 1/2 users at\n     llc_ui_bind+0x13d/0x300 [llc2]\n     __sys_bind+0xf0/0x110\n" +
		"ref_tracker: veth1@refs-1 has 1/2 users that are not known\n"
	const traces = "Call trace for veth1 +1 at\n     llc_ui_bind+0x13d/0x300 [llc2]\n     __sys_bind+0xf0/0x110\n" +
		"Call trace for veth1 +1 is not known\n"
	for form, want := range map[Form]string{RefTracker: tracker, Balance: traces + wantBalance} {
		r := References{Form: form}
		for _, f := range all {
			if err := r.Write(f); err != nil {
				t.Fatal(err)
			}
		}
		var out strings.Builder
		if err := r.Finish(&out, Recorded{}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", form, diff)
		}
	}
}

func TestFormsOfAStatement(t *testing.T) {
	before, references := int64(12), int64(2)
	s := &refs.Statement{
		ID: "refs-1", Device: &finding.Device{Name: "veth1"}, Before: &before, References: &references, Balance: -10,
		Families: []refs.Family{
			{Name: "AF_LLC socket", Balance: 1, Traces: heldDevice()[1].Traces},
			{Name: "dst", Balance: 0, Traces: []finding.Trace{{Count: 5, Place: "dst_init+0x1"}}},
		},
	}
	for form, want := range map[Form]string{
		RefTracker: "ref_tracker: veth1@refs-1 has 1/2 users at\n     llc_ui_bind+0x13d/0x300 [llc2]\n     __sys_bind+0xf0/0x110\n",
		Balance: "Call trace for veth1 +12 at\n     (before tracing)\nCall trace for veth1 +1 at\n     llc_ui_bind+0x13d/0x300 [llc2]\n     __sys_bind+0xf0/0x110\n" +
			wantBalance,
	} {
		var out strings.Builder
		if err := (Forms{W: &out, Form: form}).Statement(s); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", form, diff)
		}
	}
}
