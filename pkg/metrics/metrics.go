// SPDX-License-Identifier: Apache-2.0

// Package metrics counts what the service finds and what it costs, for Prometheus,
// and serves that over HTTP. No label has a name of a device, a process or a
// namespace: each has a bounded set of values.
package metrics

import (
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/incident"
	"github.com/netns-trace/netns-trace/pkg/refs"
	"github.com/netns-trace/netns-trace/pkg/threads"
)

const namespace = "netns_trace"

// liveHeap is what was reachable at the last garbage collection: whether the process
// grows is seen in it long before its resident memory, which follows the heap's peaks.
var liveHeap = regexp.MustCompile(`^/gc/heap/live:bytes$`)

// Metrics is the sink that counts. Events come from one goroutine; it can be
// gathered from any.
type Metrics struct {
	registry *prometheus.Registry

	findings  *prometheus.CounterVec
	incidents *prometheus.CounterVec
	ended     *prometheus.CounterVec
	overflow  prometheus.Counter
	rewritten *prometheus.CounterVec
	corrupt   *prometheus.CounterVec
	dstFailed *prometheus.CounterVec

	kinds    *vocabulary // "class kind"
	families *vocabulary
	open     *openCollector
	state    *stateCollector
}

// New makes metrics of this version of the program, all 0.
func New(version string) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	}
	m := &Metrics{
		registry:  prometheus.NewRegistry(),
		findings:  counter("findings_total", "Findings, those of incidents that are known already included.", "class", "kind"),
		incidents: counter("incidents_total", "Incidents that began.", "class", "kind"),
		ended:     counter("incidents_ended_total", "Incidents that are over.", "class", "kind"),
		rewritten: counter("csum_rewritten_packets_total", "Packets marked as verified that nobody had verified.", "device_kind"),
		corrupt:   counter("csum_corrupt_packets_total", "Those of them whose checksum was wrong.", "device_kind"),
		dstFailed: counter("dst_allocation_failures_total", "Routing entries that could not be allocated.", "family", "cause"),
		overflow: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "incidents_overflow_total", Help: "Findings of incidents that were too many to be told apart.",
		}),
		kinds:    newVocabulary(64),
		families: newVocabulary(64),
	}
	m.open = newOpenCollector(m.families)
	m.state = newStateCollector()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "The version of the program; the value is 1.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.findings, m.incidents, m.ended, m.overflow, m.rewritten, m.corrupt, m.dstFailed,
		build, m.open, m.state, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		// Two dozen go_memstats would be a third of all that a fleet sends.
		collectors.NewGoCollector(collectors.WithGoCollectorMemStatsMetricsDisabled(),
			collectors.WithGoCollectorRuntimeMetrics(collectors.GoRuntimeMetricsRule{Matcher: liveHeap})))
	return m
}

// Gatherer gives all metrics, to be exported.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// Names are those of all metrics that are the service's own, also of those that have
// no value yet.
func (m *Metrics) Names() []string {
	descriptions := make(chan *prometheus.Desc)
	go func() {
		defer close(descriptions)
		m.registry.Describe(descriptions)
	}()
	var names []string
	for d := range descriptions {
		// A description tells its name in words only.
		_, rest, _ := strings.Cut(d.String(), `fqName: "`)
		if name, _, ok := strings.Cut(rest, `"`); ok && strings.HasPrefix(name, namespace) {
			names = append(names, name)
		}
	}
	return names
}

// Take implements incident.Sink.
func (m *Metrics) Take(e *incident.Event) {
	class, kind := m.labels(e.Incident.Class, e.Incident.Kind)
	switch e.Change {
	case incident.Opened:
		m.incidents.WithLabelValues(class, kind).Inc()
		m.open.incident(class, +1)
	case incident.Ended:
		m.ended.WithLabelValues(class, kind).Inc()
		m.open.incident(class, -1)
	case incident.Overflow:
		m.overflow.Inc()
	}
	if e.Finding != nil {
		m.found(e)
	}
}

func (m *Metrics) labels(class finding.Class, kind string) (string, string) {
	if !m.kinds.has(string(class) + " " + kind) {
		return string(class), other
	}
	return string(class), kind
}

func (m *Metrics) found(e *incident.Event) {
	f := e.Finding
	m.findings.WithLabelValues(m.labels(f.Class, f.Kind)).Inc()
	added := float64(max(0, e.Added))
	device := e.Incident.DeviceKind
	switch {
	case f.Class == finding.Csum && f.Kind == "rewrite":
		m.rewritten.WithLabelValues(device).Add(added)
	case f.Class == finding.Csum && f.Kind == "corrupt-delivered":
		m.corrupt.WithLabelValues(device).Add(added)
	case f.Class == finding.Dst && f.Kind == "alloc-failure":
		m.dstFailed.WithLabelValues(word(f, "family"), word(f, "cause")).Add(added)
	case f.Class == finding.Refs && f.Kind == refs.KindWaiting:
		m.open.waits(f.ID, waiting{since: waitingSince(f), device: device, families: familiesOf(f)})
	case f.Class == finding.Refs && f.Kind == refs.KindReleased:
		m.open.released(f.ID)
	case f.Class == finding.Threads && f.State == finding.Closed:
		m.open.back(f.ID)
	case f.Class == finding.Threads && stranded(f.Kind):
		m.open.strands(f.ID)
	}
}

// Restart is for when tracing starts anew: what is still so will be found again.
func (m *Metrics) Restart() { m.open.restart() }

// Set says how the service is now.
func (m *Metrics) Set(s State) { m.state.set(s) }

func stranded(kind string) bool {
	return kind == threads.KindStranded || kind == threads.KindStrandedBefore || kind == threads.KindNeverReturned
}

// waitingSince is a time that setting the wall clock does not change: a device would
// seem to have waited for hours.
func waitingSince(f *finding.Finding) time.Time {
	since, ok := f.Details["waiting_since"].(time.Time)
	if !ok {
		since = f.Time
	}
	return time.Now().Add(since.Sub(f.Time))
}

func familiesOf(f *finding.Finding) map[string]int {
	families, _ := f.Details["holders"].(map[string]int)
	return families
}

func word(f *finding.Finding, key string) string {
	text, _ := f.Details[key].(string)
	return text
}
