// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"

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
