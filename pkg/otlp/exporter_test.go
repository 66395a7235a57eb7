// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	stdgzip "compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	collectorlogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/incident"
)

// collector takes what is sent, by the services that OpenTelemetry has published.
type collector struct {
	collectorlogs.UnimplementedLogsServiceServer

	mu       sync.Mutex
	logs     []string // summaries, with the attributes that matter
	metrics  map[string]float64
	resource []*commonpb.KeyValue
	refuse   int // so many more, as unavailable
	never    bool

	compressed atomic.Bool // something was
}

func (c *collector) Export(_ context.Context, r *collectorlogs.ExportLogsServiceRequest) (*collectorlogs.ExportLogsServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.never:
		return nil, status.Error(codes.InvalidArgument, "not here")
	case c.refuse > 0:
		c.refuse--
		return nil, status.Error(codes.Unavailable, "later")
	}
	for _, resource := range r.ResourceLogs {
		c.resource = resource.Resource.Attributes
		for _, scope := range resource.ScopeLogs {
			for _, l := range scope.LogRecords {
				c.logs = append(c.logs, fmt.Sprint(l.EventName, ": ", l.Body.GetStringValue(), " ", l.SeverityText))
			}
		}
	}
	return &collectorlogs.ExportLogsServiceResponse{}, nil
}

// metricsService is the other service of a collector: methods of both have one name.
type metricsService struct {
	collectormetrics.UnimplementedMetricsServiceServer
	*collector
}

func (c metricsService) Export(_ context.Context, r *collectormetrics.ExportMetricsServiceRequest) (*collectormetrics.ExportMetricsServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.metrics = make(map[string]float64)
	for _, resource := range r.ResourceMetrics {
		for _, scope := range resource.ScopeMetrics {
			for _, m := range scope.Metrics {
				points := m.GetGauge().GetDataPoints()
				name := "gauge " + m.Name
				if sum := m.GetSum(); sum != nil {
					points, name = sum.DataPoints, fmt.Sprint("sum ", m.Name, " ", sum.IsMonotonic)
				}
				for _, p := range points {
					c.metrics[name] += p.GetAsDouble()
				}
				for _, p := range m.GetSummary().GetDataPoints() {
					c.metrics["summary "+m.Name] += p.Sum
				}
			}
		}
	}
	return &collectormetrics.ExportMetricsServiceResponse{}, nil
}

// encodings is what gRPC tells of how calls are encoded.
type encodings struct{ *collector }

func (e encodings) HandleRPC(_ context.Context, s stats.RPCStats) {
	if in, ok := s.(*stats.InHeader); ok && in.Compression == gzip.Name {
		e.compressed.Store(true)
	}
}

func (encodings) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (encodings) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (encodings) HandleConn(context.Context, stats.ConnStats)                       {}

// ServeHTTP is the same by HTTP.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	in := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := stdgzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		in = z
		c.compressed.Store(true)
	}
	body, err := io.ReadAll(in)
	if err == nil && r.Header.Get("Content-Type") != "application/x-protobuf" {
		err = fmt.Errorf("content type %q", r.Header.Get("Content-Type"))
	}
	switch r.URL.Path {
	case "/v1/logs":
		var m collectorlogs.ExportLogsServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &m)
		}
		if err == nil {
			_, err = c.Export(r.Context(), &m)
		}
	case "/v1/metrics":
		var m collectormetrics.ExportMetricsServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &m)
		}
		if err == nil {
			_, err = metricsService{collector: c}.Export(r.Context(), &m)
		}
	default:
		http.NotFound(w, r)
		return
	}
	switch status.Code(err) {
	case codes.OK:
		w.WriteHeader(http.StatusOK)
	case codes.Unavailable:
		w.Header().Set("Retry-After", "1")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	default:
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func (c *collector) got() ([]string, map[string]float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.logs, c.metrics
}

// serve starts the collector, and returns its endpoint.
func (c *collector) serve(t *testing.T, scheme string) string {
	t.Helper()
	if scheme == "http" {
		s := httptest.NewServer(c)
		t.Cleanup(s.Close)
		return s.URL
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.StatsHandler(encodings{c}))
	collectorlogs.RegisterLogsServiceServer(s, c)
	collectormetrics.RegisterMetricsServiceServer(s, metricsService{collector: c})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return "grpc://" + l.Addr().String()
}

func exporter(t *testing.T, o Options) *Exporter {
	t.Helper()
	registry := prometheus.NewRegistry()
	found := prometheus.NewCounter(prometheus.CounterOpts{Name: "found_total", Help: "Found."})
	pause := prometheus.NewSummary(prometheus.SummaryOpts{Name: "pause_seconds", Help: "Pauses."})
	pause.Observe(0.5)
	waiting := prometheus.NewGauge(prometheus.GaugeOpts{Name: "waiting", Help: "Waiting."})
	found.Add(3)
	waiting.Set(2)
	registry.MustRegister(found, waiting, pause)
	o.Gatherer, o.Log, o.Resource = registry, slog.New(slog.DiscardHandler), map[string]string{"service.name": "netns-trace"}
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func opened(summary string) *incident.Event {
	return &incident.Event{
		Change: incident.Opened, Incident: incident.Incident{Summary: summary, Class: finding.Refs},
		Finding: &finding.Finding{Summary: summary, Time: time.Unix(5, 0)},
	}
}

func within(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 20 s: " + what)
		}
	}
}

func TestExport(t *testing.T) {
	for _, test := range []struct {
		scheme string
		gzip   bool
	}{{"grpc", false}, {"grpc", true}, {"http", false}, {"http", true}} {
		t.Run(fmt.Sprintf("%s gzip=%t", test.scheme, test.gzip), func(t *testing.T) {
			c := &collector{refuse: 1}
			e := exporter(t, Options{Endpoint: c.serve(t, test.scheme), Interval: 50 * time.Millisecond, Gzip: test.gzip})
			e.Take(opened("veth1 waits"))
			e.Take(&incident.Event{Change: incident.Repeated, Finding: &finding.Finding{}})
			within(t, "a log, although it was refused once", func() bool { logs, _ := c.got(); return len(logs) == 1 })
			within(t, "metrics", func() bool {
				_, m := c.got()
				return m["sum found true"] == 3 && m["gauge waiting"] == 2 && m["summary pause_seconds"] == 0.5
			})
			e.Take(&incident.Event{Change: incident.Ended, Incident: incident.Incident{Summary: "veth1 waits", Last: time.Unix(9, 0)}})
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			logs, _ := c.got()
			want := "netns_trace.incident.opened: veth1 waits WARN, netns_trace.incident.ended: veth1 waits INFO"
			if got := strings.Join(logs, ", "); got != want || e.Lost() != 0 {
				t.Errorf("got %s, %d lost; want %s", got, e.Lost(), want)
			}
			if c.compressed.Load() != test.gzip {
				t.Errorf("compressed: %t, want %t", !test.gzip, test.gzip)
			}
			if len(c.resource) != 1 || c.resource[0].Value.GetStringValue() != "netns-trace" {
				t.Errorf("resource: %v", c.resource)
			}
		})
	}
}

// A collector that is away for the whole run: nothing waits for it, memory is
// bounded, and what was not sent is counted.
func TestCollectorIsAway(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	for _, scheme := range []string{"grpc", "http"} {
		e := exporter(t, Options{Endpoint: scheme + "://" + address, Queue: 10})
		began := time.Now()
		for range 1000 {
			e.Take(opened("veth1 waits"))
		}
		if err := e.Close(); err == nil {
			t.Errorf("%s: the end does not tell that logs were not sent", scheme)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s: it took %s", scheme, took)
		}
		if e.Lost() != 1000 {
			t.Errorf("%s: %d were counted as lost, of 1000", scheme, e.Lost())
		}
	}
}

func TestCollectorRefusesForEver(t *testing.T) {
	for _, scheme := range []string{"grpc", "http"} {
		c := &collector{never: true}
		e := exporter(t, Options{Endpoint: c.serve(t, scheme)})
		e.Take(opened("veth1 waits"))
		within(t, "it is given up", func() bool { return e.Lost() == 1 })
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestEndpoint(t *testing.T) {
	for endpoint, want := range map[string]bool{
		"http://collector:4318": true, "https://c/otlp": true, "grpc://c:4317": true, "grpcs://c:4317": true,
		"c:4317": false, "": false, "ftp://c": false, "http://": false, "://": false,
	} {
		if err := CheckEndpoint(endpoint); (err == nil) != want {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
}
