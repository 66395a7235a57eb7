// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// ServerOptions say where metrics are served, and to whom.
type ServerOptions struct {
	Listen    string // host:port
	TokenFile string // of the bearer token that /metrics asks for; "": it asks for none
	CertFile  string // TLS, with KeyFile; "": none
	KeyFile   string
	PProf     bool // serve /debug/pprof too
	// Healthy and Ready tell why the service is not so; nil: it is.
	Healthy, Ready func() error
	Log            *slog.Logger
}

const (
	// connections is how many are open at once: a scraper needs one. More are closed.
	connections  = 32
	headerBytes  = 8 << 10
	bodyBytes    = 1 << 10
	readTimeout  = 10 * time.Second
	writeTimeout = 30 * time.Second
	// profileTimeout is for a profile of 30 s, which takes a little longer.
	profileTimeout = 60 * time.Second
	idleTimeout    = 2 * time.Minute
	scrapes        = 4 // at once
)

// Server serves metrics until it is closed. A nil one serves nothing.
type Server struct {
	options  ServerOptions
	http     http.Server
	listener *boundedListener
	secrets  atomic.Pointer[secrets]
	done     chan struct{}
}

// secrets are what is read from files, anew when asked to.
type secrets struct {
	token       [sha256.Size]byte
	certificate *tls.Certificate
}

// Serve begins to serve. The server must be closed.
func (m *Metrics) Serve(o ServerOptions) (*Server, error) {
	s := &Server{options: o, done: make(chan struct{})}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listening for metrics on %s: %w", o.Listen, err)
	}
	s.listener = newBoundedListener(l, connections)
	s.http = http.Server{
		Handler:           http.MaxBytesHandler(s.handler(m), bodyBytes),
		ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout,
		WriteTimeout: writeTimeout, MaxHeaderBytes: headerBytes,
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	if o.PProf {
		s.http.WriteTimeout = profileTimeout
	}
	serve := func() error { return s.http.Serve(s.listener) }
	if o.CertFile != "" {
		s.http.TLSConfig = &tls.Config{
			MinVersion: tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				return s.secrets.Load().certificate, nil
			},
		}
		serve = func() error { return s.http.ServeTLS(s.listener, "", "") }
	}
	go func() {
		defer close(s.done)
		if err := serve(); !errors.Is(err, http.ErrServerClosed) {
			o.Log.Error("metrics are no longer served: " + err.Error())
		}
	}()
	return s, nil
}

// Addr is where it listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Reload reads token and certificate anew; when that fails the old ones stay.
func (s *Server) Reload() error {
	if s == nil {
		return nil
	}
	var read secrets
	if path := s.options.TokenFile; path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("reading the bearer token: %w", err)
		}
		token := strings.TrimSpace(string(text))
		if token == "" {
			return fmt.Errorf("reading the bearer token: %s is empty", path)
		}
		read.token = sha256.Sum256([]byte(token))
	}
	if s.options.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(s.options.CertFile, s.options.KeyFile)
		if err != nil {
			return fmt.Errorf("reading the TLS certificate: %w", err)
		}
		read.certificate = &pair
	}
	s.secrets.Store(&read)
	return nil
}

// Close ends all connections; a scrape under way is given a moment.
func (s *Server) Close() error {
	if s == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	<-s.done
	return err
}

func (s *Server) handler(m *Metrics) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.authorized(promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: scrapes, Timeout: readTimeout,
	})))
	mux.HandleFunc("GET /healthz", answer(s.options.Healthy))
	mux.HandleFunc("GET /readyz", answer(s.options.Ready))
	if s.options.PProf {
		// Not by the package's own registration, which is for all servers of a process.
		mux.Handle("GET /debug/pprof/", s.authorized(http.HandlerFunc(pprof.Index)))
		mux.Handle("GET /debug/pprof/profile", s.authorized(http.HandlerFunc(pprof.Profile)))
		mux.Handle("GET /debug/pprof/trace", s.authorized(http.HandlerFunc(pprof.Trace)))
	}
	return mux
}

// answer says ok, or why not.
func answer(ask func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if ask != nil {
			if err := ask(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
		fmt.Fprintln(w, "ok")
	}
}

func (s *Server) authorized(next http.Handler) http.Handler {
	if s.options.TokenFile == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got, want := sha256.Sum256([]byte(token)), s.secrets.Load().token
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "this needs a bearer token", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
