// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"
)

// metrics are the gathered families, under their Prometheus names.
func (e *Exporter) metrics(families []*dto.MetricFamily, now time.Time) proto.Message {
	at := moment{now: uint64(now.UnixNano()), started: uint64(e.started.UnixNano())}
	var out []*metricspb.Metric
	for _, f := range families {
		if m := at.metric(f); m != nil {
			out = append(out, m)
		}
	}
	// On the wire this is an ExportMetricsServiceRequest.
	return &metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{{
		Resource: e.resource, ScopeMetrics: []*metricspb.ScopeMetrics{{Scope: scope(), Metrics: out}},
	}}}
}

// moment is when metrics are told, and since when they were counted, in ns since 1970.
type moment struct{ now, started uint64 }

// metric is nil for a family without values, and for kinds that the service does not have.
func (at moment) metric(f *dto.MetricFamily) *metricspb.Metric {
	if len(f.Metric) == 0 {
		return nil
	}
	out := &metricspb.Metric{Name: f.GetName(), Description: f.GetHelp()}
	switch f.GetType() {
	case dto.MetricType_COUNTER:
		// A collector that makes Prometheus metrics of it adds the ending again.
		out.Name = strings.TrimSuffix(f.GetName(), "_total")
		out.Data = &metricspb.Metric_Sum{Sum: &metricspb.Sum{
			DataPoints: at.points(f, at.started, func(m *dto.Metric) float64 { return m.GetCounter().GetValue() }), IsMonotonic: true,
			AggregationTemporality: metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE,
		}}
	case dto.MetricType_GAUGE:
		out.Data = &metricspb.Metric_Gauge{Gauge: &metricspb.Gauge{
			DataPoints: at.points(f, 0, func(m *dto.Metric) float64 { return m.GetGauge().GetValue() }),
		}}
	case dto.MetricType_SUMMARY: // go_gc_duration_seconds
		out.Data = &metricspb.Metric_Summary{Summary: at.summary(f)}
	default:
		return nil
	}
	return out
}

func (at moment) points(f *dto.MetricFamily, since uint64, value func(*dto.Metric) float64) []*metricspb.NumberDataPoint {
	var out []*metricspb.NumberDataPoint
	for _, m := range f.Metric {
		out = append(out, &metricspb.NumberDataPoint{
			StartTimeUnixNano: since, TimeUnixNano: at.now, Attributes: labels(m),
			Value: &metricspb.NumberDataPoint_AsDouble{AsDouble: value(m)},
		})
	}
	return out
}

func (at moment) summary(f *dto.MetricFamily) *metricspb.Summary {
	out := new(metricspb.Summary)
	for _, m := range f.Metric {
		p := &metricspb.SummaryDataPoint{
			StartTimeUnixNano: at.started, TimeUnixNano: at.now, Attributes: labels(m),
			Count: m.GetSummary().GetSampleCount(), Sum: m.GetSummary().GetSampleSum(),
		}
		for _, q := range m.GetSummary().GetQuantile() {
			p.QuantileValues = append(p.QuantileValues, &metricspb.SummaryDataPoint_ValueAtQuantile{
				Quantile: q.GetQuantile(), Value: q.GetValue(),
			})
		}
		out.DataPoints = append(out.DataPoints, p)
	}
	return out
}

func labels(m *dto.Metric) []*commonpb.KeyValue {
	var out []*commonpb.KeyValue
	for _, l := range m.Label {
		out = append(out, text(l.GetName(), l.GetValue()))
	}
	return out
}
