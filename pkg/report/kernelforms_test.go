// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strings"
	"testing"

	"github.com/netns-trace/netns-trace/pkg/finding"
)

func refsFinding(id string, state finding.State, count int64, waiting string, stack ...string) *finding.Finding {
	f := &finding.Finding{
		ID: id, State: state, Class: finding.Refs, Kind: "waiting", Count: count, Stack: stack,
		Device: &finding.Device{Name: "veth1", Ifindex: 2}, Details: map[string]any{},
	}
	if waiting != "" {
		f.Kind, f.Details["waiting"] = "holder", waiting
	}
	return f
}

func TestReferencesAreToldAsTheKernelDoes(t *testing.T) {
	neigh := []string{"___neigh_create+0x4fb/0x950", "arp_send+0x1/0x2"}
	held := []*finding.Finding{
		refsFinding("w", finding.Opened, 5, ""),
		refsFinding("a", finding.Opened, 1, "w", neigh...),
		refsFinding("b", finding.Opened, 1, "w", neigh...),
		refsFinding("c", finding.Opened, 2, "w", "dst_init+0x9/0x20"),
		refsFinding("gone", finding.Opened, 1, "w", "x+0x1/0x2"),
		refsFinding("gone", finding.Closed, 0, "w"),
	}
	for _, test := range []struct {
		name     string
		form     Form
		findings []*finding.Finding
		want     []string
	}{
		{"ref_tracker", RefTracker, held, []string{
			"ref_tracker: veth1@w has 2/5 users at", "     ___neigh_create+0x4fb/0x950", "     arp_send+0x1/0x2",
			"ref_tracker: veth1@w has 2/5 users at", "     dst_init+0x9/0x20",
			"ref_tracker: veth1@w has 1/5 users that are not known",
		}},
		{"balance", Balance, held, []string{
			"Call trace for veth1 +2 at", "     ___neigh_create+0x4fb/0x950", "     arp_send+0x1/0x2",
			"Call trace for veth1 +2 at", "     dst_init+0x9/0x20",
			"Call trace for veth1 +1 is not known", "balance for veth1 is 5",
		}},
	} {
		r := References{Form: test.form}
		for _, f := range test.findings {
			if err := r.Write(f); err != nil {
				t.Fatal(err)
			}
		}
		var out strings.Builder
		if err := r.Finish(&out, Recorded{}); err != nil {
			t.Fatal(err)
		}
		if want := strings.Join(test.want, "\n") + "\n"; out.String() != want {
			t.Errorf("%s:\n%s\nwant:\n%s", test.name, out.String(), want)
		}
	}
}

func TestAnIncidentIsWhatItWasBeforeItWasOver(t *testing.T) {
	var i Incidents
	for _, f := range []struct {
		id, kind string
		state    finding.State
	}{
		{"a", "cloned-mid-setns", finding.Opened},
		{"a", "stranded", finding.Updated},
		{"a", "harm", finding.Updated},
		{"a", "exited", finding.Closed},
		{"b", "cloned-mid-setns", finding.Opened},
		{"c", "harm", finding.Opened},
	} {
		i.Take(&finding.Finding{ID: f.id, Class: finding.Threads, Kind: f.kind, State: f.state})
	}
	if got, want := i.words(), "3 incidents: 1 threads cloned-mid-setns, 1 threads harm; over: 1 threads stranded"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
