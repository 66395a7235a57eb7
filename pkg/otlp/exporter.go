// SPDX-License-Identifier: Apache-2.0

// Package otlp sends incidents as logs, and the metrics, to an OpenTelemetry
// collector, by gRPC or HTTP. It is the one package that knows OpenTelemetry.
package otlp

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"

	"github.com/netns-trace/netns-trace/pkg/incident"
)

// Options say where to send, and as whom. What is 0 gets its default.
type Options struct {
	Endpoint string // http://HOST:4318, or grpc://HOST:4317; https and grpcs with TLS
	// Resource is who sends, by the names of OpenTelemetry: service.name, host.name.
	Resource map[string]string
	Gatherer prometheus.Gatherer
	Interval time.Duration // between two sendings of the metrics; 1 minute
	Queue    int           // logs that wait to be sent; 1,024
	Gzip     bool          // compress; OTLP asks every collector to take it
	Log      *slog.Logger
}

const (
	batch       = 256 // logs sent at once, at most
	sendTimeout = 10 * time.Second
	firstWait   = time.Second // before a second attempt; it doubles
	lastWait    = 30 * time.Second
	// parting is how long the last logs may take when the service ends.
	parting = 2 * time.Second
)

// Exporter sends until it is closed.
type Exporter struct {
	options  Options
	client   client
	resource *resourcepb.Resource
	queue    chan *logspb.LogRecord
	lost     atomic.Uint64
	started  time.Time
	stop     context.CancelFunc
	done     chan struct{}
	failing  bool // it was said
}

// New begins to send. It does not wait for the collector to be there. The exporter
// must be closed.
func New(o Options) (*Exporter, error) {
	if o.Interval == 0 {
		o.Interval = time.Minute
	}
	if o.Queue == 0 {
		o.Queue = 1024
	}
	c, err := newClient(o.Endpoint)
	if err != nil {
		return nil, err
	}
	if o.Gzip {
		c.gzip = gzip.NewWriter(nil)
	}
	e := &Exporter{
		options: o, client: c, started: time.Now(),
		resource: &resourcepb.Resource{Attributes: attributes(o.Resource)},
		queue:    make(chan *logspb.LogRecord, o.Queue), done: make(chan struct{}),
	}
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	go func() {
		defer close(e.done)
		e.run(ctx)
	}()
	return e, nil
}

// Lost is how many logs were not sent, because the collector was away for too long or
// refused them.
func (e *Exporter) Lost() uint64 {
	if e == nil {
		return 0
	}
	return e.lost.Load()
}

// Take implements incident.Sink: the beginning and the end of an incident is a log.
// It never waits.
func (e *Exporter) Take(event *incident.Event) {
	if event.Change != incident.Opened && event.Change != incident.Ended {
		return
	}
	select {
	case e.queue <- logOf(event):
	default:
		e.lost.Add(1)
	}
}

// Close sends what is left, if that can be done in a moment.
func (e *Exporter) Close() error {
	if e == nil {
		return nil
	}
	e.stop()
	<-e.done
	ctx, cancel := context.WithTimeout(context.Background(), parting)
	defer cancel()
	var err error
	for records := e.take(nil); len(records) > 0 && err == nil; records = e.take(nil) {
		if err = e.client.send(ctx, signalLogs, e.logs(records)); err != nil {
			e.lost.Add(uint64(len(records) + len(e.queue)))
		}
	}
	e.client.close()
	if err != nil {
		return fmt.Errorf("sending the last logs: %w", err)
	}
	return nil
}

func (e *Exporter) run(ctx context.Context) {
	metrics := time.NewTicker(e.options.Interval)
	defer metrics.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case first := <-e.queue:
			e.sendLogs(ctx, e.take(first))
		case <-metrics.C:
			e.sendMetrics(ctx)
		}
	}
}

// take returns what is in the queue, at most a batch; first is what was taken already.
func (e *Exporter) take(first *logspb.LogRecord) []*logspb.LogRecord {
	var records []*logspb.LogRecord
	if first != nil {
		records = append(records, first)
	}
	for len(records) < batch {
		select {
		case r := <-e.queue:
			records = append(records, r)
		default:
			return records
		}
	}
	return records
}

func (e *Exporter) logs(records []*logspb.LogRecord) proto.Message {
	// On the wire this is an ExportLogsServiceRequest.
	return &logspb.LogsData{ResourceLogs: []*logspb.ResourceLogs{{
		Resource:  e.resource,
		ScopeLogs: []*logspb.ScopeLogs{{Scope: scope(), LogRecords: records}},
	}}}
}

func scope() *commonpb.InstrumentationScope {
	return &commonpb.InstrumentationScope{Name: "netns-trace"}
}

// sendLogs tries until they are taken, or never will be, or the service ends.
func (e *Exporter) sendLogs(ctx context.Context, records []*logspb.LogRecord) {
	message := e.logs(records)
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		err := e.attempt(ctx, signalLogs, message)
		if err == nil {
			return
		}
		again := (*retryError)(nil)
		if !errors.As(err, &again) {
			if ctx.Err() != nil {
				e.putBack(records)
				return
			}
			e.lost.Add(uint64(len(records)))
			return
		}
		select {
		case <-ctx.Done():
			e.putBack(records)
			return
		case <-time.After(max(wait, min(again.after, lastWait))):
		}
	}
}

// putBack leaves records for Close, those that fit.
func (e *Exporter) putBack(records []*logspb.LogRecord) {
	for _, r := range records {
		select {
		case e.queue <- r:
		default:
			e.lost.Add(1)
		}
	}
}

// sendMetrics tries once: the next have all that these have.
func (e *Exporter) sendMetrics(ctx context.Context) {
	families, err := e.options.Gatherer.Gather()
	if err != nil {
		e.options.Log.Warn("gathering metrics: " + err.Error())
		return
	}
	// What comes of it is said by attempt.
	_ = e.attempt(ctx, signalMetrics, e.metrics(families, time.Now()))
}

// attempt sends once, and says when that begins to fail and when it works again.
func (e *Exporter) attempt(ctx context.Context, s signal, m proto.Message) error {
	sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendTimeout)
	defer cancel()
	// What is on its way when the service ends may arrive: broken off, it would be
	// sent a second time.
	defer context.AfterFunc(ctx, func() { time.AfterFunc(parting, cancel) })()
	err := e.client.send(sending, s, m)
	switch {
	case ctx.Err() != nil:
	case err != nil && !e.failing:
		e.failing = true
		e.options.Log.Warn("OTLP: "+err.Error(), "endpoint", e.options.Endpoint, "lost", e.Lost())
	case err == nil && e.failing:
		e.failing = false
		e.options.Log.Info("OTLP: the collector takes what is sent again", "lost", e.Lost())
	}
	return err
}
