// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
)

// signal is a kind of what is sent, by where it goes.
type signal struct{ httpPath, grpcPath string }

var (
	signalLogs    = signal{"/v1/logs", "/opentelemetry.proto.collector.logs.v1.LogsService/Export"}
	signalMetrics = signal{"/v1/metrics", "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"}
)

// client sends one message. gRPC is spoken on net/http's HTTP/2: one call without
// streams is a header of five bytes and a status at the end, and the library for it
// would be a third of this program.
type client struct {
	http *http.Client
	base url.URL
	grpc bool
	gzip *gzip.Writer // nil: what is sent is not compressed
}

// retryError is a refusal that may not be one later.
type retryError struct {
	err   error
	after time.Duration // as the collector wishes; 0: it does not say
}

func (e *retryError) Error() string { return e.err.Error() }

func (e *retryError) Unwrap() error { return e.err }

// CheckEndpoint tells what is wrong with an endpoint.
func CheckEndpoint(endpoint string) error {
	_, err := newClient(endpoint)
	return err
}

func newClient(endpoint string) (client, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return client{}, fmt.Errorf("%q is no endpoint: write it as http://HOST:4318 or grpc://HOST:4317", endpoint)
	}
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConns: 2, IdleConnTimeout: 2 * time.Minute, Protocols: new(http.Protocols)}
	c := client{http: &http.Client{Transport: t}, base: *u}
	switch u.Scheme {
	case "http":
		t.Protocols.SetHTTP1(true)
	case "https":
		t.Protocols.SetHTTP1(true)
		t.Protocols.SetHTTP2(true)
	case "grpc":
		c.grpc, c.base.Scheme = true, "http"
		t.Protocols.SetUnencryptedHTTP2(true)
	case "grpcs":
		c.grpc, c.base.Scheme = true, "https"
		t.Protocols.SetHTTP2(true)
	default:
		return client{}, fmt.Errorf("%q: an endpoint begins with http, https, grpc or grpcs", endpoint)
	}
	return c, nil
}

func (c client) close() { c.http.CloseIdleConnections() }

// answerMost is how much of an answer is read.
const answerMost = 64 << 10

func (c client) send(ctx context.Context, s signal, m proto.Message) error {
	body, err := proto.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding for OTLP: %w", err)
	}
	if c.gzip != nil {
		if body, err = c.compressed(body); err != nil {
			return err
		}
	}
	path, content, encoding := s.httpPath, "application/x-protobuf", "Content-Encoding"
	if c.grpc {
		path, content, encoding = s.grpcPath, "application/grpc", "Grpc-Encoding"
		frame := make([]byte, 5, 5+len(body)) // whether it is compressed, and the length
		if c.gzip != nil {
			frame[0] = 1
		}
		binary.BigEndian.PutUint32(frame[1:], uint32(len(body)))
		body = append(frame, body...)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("sending by OTLP: %w", err)
	}
	r.Header.Set("Content-Type", content)
	r.Header.Set("TE", "trailers")
	if c.gzip != nil {
		r.Header.Set(encoding, "gzip")
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return &retryError{err: fmt.Errorf("sending by OTLP: %w", err)}
	}
	defer answer.Body.Close()
	// To its end: the trailers come after it.
	text, err := io.ReadAll(io.LimitReader(answer.Body, answerMost))
	if err != nil {
		return &retryError{err: fmt.Errorf("reading the collector's answer: %w", err)}
	}
	if answer.StatusCode != http.StatusOK {
		return refused(answer, text)
	}
	if c.grpc {
		return grpcStatus(answer)
	}
	return nil
}

// compressed uses one writer for all: it is 800 KB.
func (c client) compressed(body []byte) ([]byte, error) {
	var out bytes.Buffer
	c.gzip.Reset(&out)
	if _, err := c.gzip.Write(body); err != nil {
		return nil, fmt.Errorf("compressing for OTLP: %w", err)
	}
	if err := c.gzip.Close(); err != nil {
		return nil, fmt.Errorf("compressing for OTLP: %w", err)
	}
	return out.Bytes(), nil
}

// refused is an answer of HTTP; which may be repeated is said by the protocol.
func refused(answer *http.Response, text []byte) error {
	err := fmt.Errorf("the collector answers %s: %.200q", answer.Status, text)
	if !slices.Contains([]int{429, 502, 503, 504}, answer.StatusCode) {
		return err
	}
	seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
	return &retryError{err: err, after: time.Duration(max(0, min(seconds, 3600))) * time.Second}
}

// grpcStatus is the status at the end of a call, or at its beginning when nothing
// else comes.
func grpcStatus(answer *http.Response) error {
	status, message := answer.Trailer.Get("Grpc-Status"), answer.Trailer.Get("Grpc-Message")
	if status == "" {
		status, message = answer.Header.Get("Grpc-Status"), answer.Header.Get("Grpc-Message")
	}
	switch status {
	case "0":
		return nil
	case "":
		return &retryError{err: errors.New("the collector's answer has no gRPC status")}
	}
	err := fmt.Errorf("the collector answers gRPC status %s: %s", status, message)
	// CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, OUT_OF_RANGE,
	// UNAVAILABLE, DATA_LOSS.
	if slices.Contains([]string{"1", "4", "8", "10", "11", "14", "15"}, status) {
		return &retryError{err: err}
	}
	return err
}
