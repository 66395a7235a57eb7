// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/incident"
)

// host is a service's metrics, and the book that tells them of findings.
type host struct {
	*Metrics
	book *incident.Book
}

func newHost() host {
	m := New("v0.0.0")
	return host{m, incident.NewBook(incident.Options{Settle: time.Second}, m.Take)}
}

func waits(id, device string, state finding.State, kind string) *finding.Finding {
	return &finding.Finding{
		ID: id, State: state, Class: finding.Refs, Kind: kind, Time: time.Unix(10, 0), Count: 2,
		Device:  &finding.Device{Name: device},
		Details: map[string]any{"waiting_since": time.Unix(5, 0), "holders": map[string]int{"neighbour": 2}},
	}
}

func isStranded(id string, state finding.State, kind string) *finding.Finding {
	return &finding.Finding{ID: id, State: state, Class: finding.Threads, Kind: kind, Time: time.Unix(10, 0), Count: 1}
}

func rewrite(device string, count int64) *finding.Finding {
	return &finding.Finding{
		ID: device, State: finding.Updated, Class: finding.Csum, Kind: "rewrite", Time: time.Unix(10, 0), Count: count,
		Device: &finding.Device{Name: device},
	}
}

func failure(count int64) *finding.Finding {
	return &finding.Finding{
		ID: "f", State: finding.Updated, Class: finding.Dst, Kind: "alloc-failure", Time: time.Unix(10, 0), Count: count,
		Details: map[string]any{"family": "ipv6", "cause": "no memory"},
	}
}

func TestMetrics(t *testing.T) {
	h := newHost()
	for _, f := range []*finding.Finding{
		waits("1", "veth1", finding.Opened, "waiting"), waits("2", "veth2", finding.Opened, "waiting"),
		waits("3", "br0", finding.Opened, "waiting"), waits("3", "br0", finding.Closed, "released"),
		isStranded("t1", finding.Opened, "cloned-mid-setns"), isStranded("t1", finding.Updated, "stranded"),
		isStranded("t2", finding.Opened, "stranded-before"), isStranded("t2", finding.Closed, "exited"),
		rewrite("veth1", 3), rewrite("veth1", 10), rewrite("veth2", 5), failure(4),
	} {
		h.book.Observe(f)
	}
	h.book.Tick(time.Unix(100, 0)) // br0 and t2 have been over for long
	h.Set(State{
		Records: 7, Lost: map[Lost]uint64{{"refs", "ring_full"}: 9}, Probes: map[Probe]int{{"refs", "fentry"}: 2, {"csum", "module"}: 1},
		CPU: map[string]float64{PartUserSpace: 1.5},
	})
	want := `
netns_trace_findings_total{class="csum",kind="rewrite"} 3
netns_trace_findings_total{class="dst",kind="alloc-failure"} 1
netns_trace_findings_total{class="refs",kind="released"} 1
netns_trace_findings_total{class="refs",kind="waiting"} 3
netns_trace_findings_total{class="threads",kind="cloned-mid-setns"} 1
netns_trace_findings_total{class="threads",kind="exited"} 1
netns_trace_findings_total{class="threads",kind="stranded"} 1
netns_trace_findings_total{class="threads",kind="stranded-before"} 1
netns_trace_incidents_total{class="refs",kind="waiting"} 2
netns_trace_incidents_ended_total{class="refs",kind="waiting"} 1
netns_trace_incidents_open{class="refs"} 1
netns_trace_incidents_open{class="threads"} 1
netns_trace_waiting_devices{device_kind="veth"} 2
netns_trace_waiting_device_references{device_kind="veth",family="neighbour"} 4
netns_trace_stranded_threads 1
netns_trace_csum_rewritten_packets_total{device_kind="veth"} 15
netns_trace_dst_allocation_failures_total{cause="no memory",family="ipv6"} 4
netns_trace_lost_total{cause="ring_full",class="refs"} 9
netns_trace_probes{class="csum",way="module"} 1
netns_trace_probes{class="refs",way="fentry"} 2
netns_trace_cpu_seconds_total{part="user_space"} 1.5
netns_trace_records_total 7
`
	var got strings.Builder
	text, err := exposition(h.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	got.WriteString(text)
	// By the findings' own times, whatever the clock was set to meanwhile.
	if !regexp.MustCompile(`(?m)^netns_trace_waiting_longest_seconds [56]($|\.)`).MatchString(text) {
		t.Error("the first device has not waited for 5 seconds")
	}
	for _, line := range strings.Split(strings.TrimSpace(want), "\n") {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if t.Failed() {
		t.Log(got.String())
	}
	problems, err := testutil.GatherAndLint(h.Gatherer())
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
}

// What comes from the kernel, or from names that anybody can choose, must not make
// labels without end.
func TestLabelsAreBounded(t *testing.T) {
	h := newHost()
	for i := range 30_000 {
		f := waits(fmt.Sprint(i), fmt.Sprintf("x%d", i), finding.Opened, fmt.Sprintf("kind%d", i))
		f.Details["holders"] = map[string]int{fmt.Sprintf("family%d", i): 1}
		h.book.Observe(f)
		f = waits(fmt.Sprint("w", i), fmt.Sprintf("x%d", i), finding.Opened, "waiting")
		f.Details["holders"] = map[string]int{fmt.Sprintf("family%d", i): 1}
		h.Take(&incident.Event{Change: incident.Updated, Finding: f})
	}
	text, err := exposition(h.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(text, "\n"); lines > 500 {
		t.Errorf("%d lines", lines)
	}
	if !strings.Contains(text, `netns_trace_untracked_findings_total 13616`) {
		t.Error("what there was no room for is not told")
	}
}

// A scrape while 10,000 devices wait.
func BenchmarkScrape(b *testing.B) {
	h := newHost()
	for i := range 10_000 {
		h.book.Observe(waits(fmt.Sprint(i), fmt.Sprintf("veth%d", i), finding.Opened, "waiting"))
	}
	for b.Loop() {
		if _, err := exposition(h.Metrics); err != nil {
			b.Fatal(err)
		}
	}
}
