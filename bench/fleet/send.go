// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/netns-trace/netns-trace/pkg/incident"
	"github.com/netns-trace/netns-trace/pkg/metrics"
	"github.com/netns-trace/netns-trace/pkg/otlp"
)

// way is how nodes send.
type way struct {
	scheme string
	gzip   bool
}

func (w way) String() string {
	if w.gzip {
		return w.scheme + ", gzip"
	}
	return w.scheme
}

// ways are those of OTLP that the exporter has.
func ways() []way { return []way{{"grpc", false}, {"grpc", true}, {"http", false}, {"http", true}} }

// sent is what came of sending.
type sent struct {
	logs, lost int64
	bytes      int64 // both ways, without the headers of TCP and IP
	took       time.Duration
}

// atOnce is how many nodes send at the same time.
const atOnce = 32

// exporterOf sends as a node does.
func exporterOf(endpoint string, w way, host, kernel string, gatherer prometheus.Gatherer, every time.Duration) (*otlp.Exporter, error) {
	return otlp.New(otlp.Options{
		Endpoint: endpoint, Gzip: w.gzip, Gatherer: gatherer, Interval: every, Log: slog.New(slog.DiscardHandler),
		Resource: map[string]string{
			"service.name": "netns-trace", "service.version": "v1.0.0", "os.type": "linux", "os.version": kernel, "host.name": host,
		},
	})
}

// sendAll lets every node send its incidents to one collector, each in as few requests
// as its exporter makes of them.
func sendAll(ctx context.Context, w way, nodes []*node, lives []*lived) (s sent, err error) {
	c, err := listenCollector(w.scheme)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	var mu sync.Mutex
	var wait sync.WaitGroup
	began, places := time.Now(), make(chan struct{}, atOnce)
	for i, l := range lives {
		if ctx.Err() != nil {
			break
		}
		places <- struct{}{}
		wait.Go(func() {
			defer func() { <-places }()
			lost, failed := sendOne(c, w, nodes[i].host, l)
			mu.Lock()
			defer mu.Unlock()
			s.lost += int64(lost)
			err = errors.Join(err, failed)
		})
	}
	wait.Wait()
	s.took, s.logs, s.bytes = time.Since(began), c.logs.Load(), c.in.Load()+c.out.Load()
	return s, errors.Join(err, ctx.Err())
}

func sendOne(c *collector, w way, host string, l *lived) (lost uint64, err error) {
	e, err := exporterOf(c.endpoint, w, host, l.kernel, prometheus.NewRegistry(), time.Hour)
	if err != nil {
		return 0, err
	}
	for _, event := range l.events {
		e.Take(event)
	}
	err = e.Close()
	return e.Lost(), err
}

// sendAlone lets one node send its incidents as they come in life: each by itself,
// over one connection.
func sendAlone(ctx context.Context, w way, host string, l *lived) (s sent, err error) {
	c, err := listenCollector(w.scheme)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	e, err := exporterOf(c.endpoint, w, host, l.kernel, prometheus.NewRegistry(), time.Hour)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	for _, event := range l.events {
		before := c.logs.Load() + int64(e.Lost())
		e.Take(event)
		if event.Change != incident.Opened && event.Change != incident.Ended {
			continue
		}
		if err := until(ctx, func() bool { return c.logs.Load()+int64(e.Lost()) > before }); err != nil {
			return s, fmt.Errorf("waiting for a log: %w", err)
		}
	}
	s.logs, s.lost, s.bytes = c.logs.Load(), int64(e.Lost()), c.in.Load()+c.out.Load()
	return s, nil
}

// sendMetrics lets one node send its metrics some times, and returns how many points
// and bytes one sending has.
func sendMetrics(ctx context.Context, w way, host string, l *lived, state metrics.State) (points, bytes int64, err error) {
	c, err := listenCollector(w.scheme)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	m := metrics.New("v1.0.0")
	for _, event := range l.events {
		m.Take(event)
	}
	m.Set(state)
	e, err := exporterOf(c.endpoint, w, host, l.kernel, m.Gatherer(), 50*time.Millisecond)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	const times = 10
	if err := until(ctx, func() bool { return c.metrics.Load() >= times }); err != nil {
		return 0, 0, fmt.Errorf("waiting for metrics: %w", err)
	}
	n := c.metrics.Load()
	return c.points.Load() / n, (c.in.Load() + c.out.Load()) / n, nil
}

// patience is for a machine that has other work.
const patience = 30 * time.Second

func until(ctx context.Context, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !holds() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}
