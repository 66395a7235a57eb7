// SPDX-License-Identifier: Apache-2.0

package main

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"

	collectorlogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // so that the server takes what is compressed
	"google.golang.org/protobuf/proto"
)

// collector takes what nodes send, by the services that OpenTelemetry has published,
// and counts.
type collector struct {
	collectorlogs.UnimplementedLogsServiceServer

	endpoint      string
	logs, metrics atomic.Int64 // logs, and sendings of metrics
	points        atomic.Int64 // of metrics
	in, out       atomic.Int64 // bytes of the connections
	connections   atomic.Int64
	stop          func() error
}

// listenCollector serves one until stop is called.
func listenCollector(scheme string) (*collector, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening as a collector: %w", err)
	}
	c := &collector{endpoint: scheme + "://" + l.Addr().String()}
	counted := &countingListener{l, c}
	served := make(chan error, 1)
	if scheme == "grpc" {
		s := grpc.NewServer()
		collectorlogs.RegisterLogsServiceServer(s, c)
		collectormetrics.RegisterMetricsServiceServer(s, metricsService{collector: c})
		go func() { served <- s.Serve(counted) }()
		c.stop = func() error {
			s.Stop()
			return <-served
		}
		return c, nil
	}
	s := &http.Server{Handler: c}
	go func() { served <- s.Serve(counted) }()
	c.stop = func() error {
		err := s.Close()
		if e := <-served; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
		return err
	}
	return c, nil
}

// Export takes logs.
func (c *collector) Export(_ context.Context, r *collectorlogs.ExportLogsServiceRequest) (*collectorlogs.ExportLogsServiceResponse, error) {
	for _, resource := range r.ResourceLogs {
		for _, scope := range resource.ScopeLogs {
			c.logs.Add(int64(len(scope.LogRecords)))
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
	for _, resource := range r.ResourceMetrics {
		for _, scope := range resource.ScopeMetrics {
			for _, m := range scope.Metrics {
				c.points.Add(int64(len(m.GetGauge().GetDataPoints()) + len(m.GetSum().GetDataPoints())))
			}
		}
	}
	c.metrics.Add(1)
	return &collectormetrics.ExportMetricsServiceResponse{}, nil
}

// ServeHTTP is the same by HTTP.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := c.take(r); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func (c *collector) take(r *http.Request) error {
	in := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return err
		}
		in = z
	}
	body, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	if r.URL.Path == "/v1/metrics" {
		var m collectormetrics.ExportMetricsServiceRequest
		if err = proto.Unmarshal(body, &m); err == nil {
			_, err = metricsService{collector: c}.Export(r.Context(), &m)
		}
		return err
	}
	var m collectorlogs.ExportLogsServiceRequest
	if err = proto.Unmarshal(body, &m); err == nil {
		_, err = c.Export(r.Context(), &m)
	}
	return err
}

// countingListener counts the bytes of its connections.
type countingListener struct {
	net.Listener
	c *collector
}

func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.c.connections.Add(1)
	return &countingConn{conn, l.c}, nil
}

type countingConn struct {
	net.Conn
	c *collector
}

func (n *countingConn) Read(b []byte) (int, error) {
	read, err := n.Conn.Read(b)
	n.c.in.Add(int64(read))
	return read, err
}

func (n *countingConn) Write(b []byte) (int, error) {
	written, err := n.Conn.Write(b)
	n.c.out.Add(int64(written))
	return written, err
}
