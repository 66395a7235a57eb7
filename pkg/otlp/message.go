// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/netns-trace/netns-trace/pkg/incident"
)

func text(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}

func number(key string, value int64) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: value}}}
}

func attributes(values map[string]string) []*commonpb.KeyValue {
	var out []*commonpb.KeyValue
	for _, key := range slices.Sorted(maps.Keys(values)) {
		out = append(out, text(key, values[key]))
	}
	return out
}

// logOf is an incident as a log: its summary, and in the attributes what tells it
// from others; of one that begins also the whole finding, as docs/findings.md has it.
func logOf(e *incident.Event) *logspb.LogRecord {
	i := &e.Incident
	at, severity, severityText := i.Last, logspb.SeverityNumber_SEVERITY_NUMBER_INFO, "INFO"
	r := &logspb.LogRecord{
		ObservedTimeUnixNano: uint64(time.Now().UnixNano()),
		EventName:            "netns_trace.incident." + string(e.Change),
		Body:                 text("", i.Summary).Value,
		Attributes: []*commonpb.KeyValue{
			text("netns_trace.signature", i.Signature), text("netns_trace.class", string(i.Class)),
			text("netns_trace.kind", i.Kind), text("netns_trace.device_kind", i.DeviceKind), number("netns_trace.count", i.Count),
		},
	}
	if f := e.Finding; f != nil {
		at, severity, severityText = f.Time, logspb.SeverityNumber_SEVERITY_NUMBER_WARN, "WARN"
		// What a finding has can always be JSON; the text and JSON outputs rely on it too.
		if line, err := json.Marshal(f); err == nil {
			r.Attributes = append(r.Attributes, text("netns_trace.finding", string(line)))
		}
	}
	r.TimeUnixNano, r.SeverityNumber, r.SeverityText = uint64(at.UnixNano()), severity, severityText
	return r
}

// metrics are the gathered families, under their Prometheus names.
func (e *Exporter) metrics(families []*dto.MetricFamily, now time.Time) proto.Message {
	var out []*metricspb.Metric
	for _, f := range families {
		var points []*metricspb.NumberDataPoint
		for _, m := range f.Metric {
			value, ok := valueOf(f.GetType(), m)
			if !ok {
				continue
			}
			p := &metricspb.NumberDataPoint{
				TimeUnixNano: uint64(now.UnixNano()), Value: &metricspb.NumberDataPoint_AsDouble{AsDouble: value},
			}
			for _, l := range m.Label {
				p.Attributes = append(p.Attributes, text(l.GetName(), l.GetValue()))
			}
			points = append(points, p)
		}
		if len(points) == 0 {
			continue
		}
		metric := &metricspb.Metric{Name: f.GetName(), Description: f.GetHelp()}
		if f.GetType() == dto.MetricType_COUNTER {
			// A collector that makes Prometheus metrics of it adds the ending again.
			metric.Name = strings.TrimSuffix(f.GetName(), "_total")
			for _, p := range points {
				p.StartTimeUnixNano = uint64(e.started.UnixNano())
			}
			metric.Data = &metricspb.Metric_Sum{Sum: &metricspb.Sum{
				DataPoints: points, IsMonotonic: true,
				AggregationTemporality: metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE,
			}}
		} else {
			metric.Data = &metricspb.Metric_Gauge{Gauge: &metricspb.Gauge{DataPoints: points}}
		}
		out = append(out, metric)
	}
	// On the wire this is an ExportMetricsServiceRequest.
	return &metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{{
		Resource: e.resource, ScopeMetrics: []*metricspb.ScopeMetrics{{Scope: scope(), Metrics: out}},
	}}}
}

// valueOf is the value of a counter or gauge; the service has no others.
func valueOf(kind dto.MetricType, m *dto.Metric) (float64, bool) {
	switch kind {
	case dto.MetricType_COUNTER:
		return m.GetCounter().GetValue(), true
	case dto.MetricType_GAUGE:
		return m.GetGauge().GetValue(), true
	}
	return 0, false
}
