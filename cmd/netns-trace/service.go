// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/incident"
	"github.com/netns-trace/netns-trace/pkg/metrics"
	"github.com/netns-trace/netns-trace/pkg/monitor"
	"github.com/netns-trace/netns-trace/pkg/settings"
	"github.com/netns-trace/netns-trace/pkg/systemd"
)

// service is what makes tracing a service. A nil one does nothing.
type service struct {
	options *monitorOptions
	args    []string // as typed
	log     *slog.Logger
	level   *slog.LevelVar
	book    *incident.Book
	sinks   []incident.Sink
	manager *systemd.Notifier
	hup     chan os.Signal
	turned  time.Time
	alive   time.Time

	metrics *metrics.Metrics
	server  *metrics.Server // nil: nothing is served
	health  monitor.Health
}

func runMonitor(ctx context.Context, o *monitorOptions, args []string) error {
	s := &service{options: o, args: args, level: new(slog.LevelVar), hup: make(chan os.Signal, 1)}
	s.level.Set(o.level())
	s.log = monitor.NewLogger(os.Stderr, o.logFormat, s.level)
	s.manager = systemd.FromEnvironment(os.Getenv, os.Getpid())
	s.metrics = metrics.New(versionString())
	s.sinks = []incident.Sink{&monitor.Log{Logger: s.log}, s.metrics}
	s.book = incident.NewBook(o.bookOptions(), s.tell)
	signal.Notify(s.hup, syscall.SIGHUP)
	defer signal.Stop(s.hup)

	// First: a port that is in use is better told before anything is attached.
	if err := s.serve(); err != nil {
		return err
	}
	t := &tracing{options: &o.live, say: speaker{logLines{s.log}}, out: s, service: s}
	if err := errors.Join(t.trace(ctx), s.server.Close()); err != nil {
		return err
	}
	s.log.Info("ended", "incidents_open", s.book.Open(), "records", t.live.Records)
	return nil
}

func (s *service) serve() (err error) {
	o := s.options
	if o.listen == "" {
		return nil
	}
	s.server, err = s.metrics.Serve(metrics.ServerOptions{
		Listen: o.listen, TokenFile: o.tokenFile, CertFile: o.tlsCert, KeyFile: o.tlsKey, PProf: o.pprof,
		Healthy: s.health.Healthy, Ready: s.health.Ready, Log: s.log,
	})
	if err != nil {
		return err
	}
	s.log.Info("metrics are served", "address", s.server.Addr().String(), "token", o.tokenFile != "", "tls", o.tlsCert != "")
	return nil
}

// Write implements report.Writer: findings go to the book, which never fails.
func (s *service) Write(f *finding.Finding) error {
	s.book.Observe(f)
	return nil
}

func (s *service) tell(e *incident.Event) {
	for _, sink := range s.sinks {
		sink.Take(e)
	}
}

// ready says that everything is attached.
func (s *service) ready(t *tracing) {
	s.health.SetReady(true)
	s.log.Info("watching", "version", versionString(), "what", strings.Join(t.watched(), ", "))
	s.heard(s.manager.Ready("watching " + strings.Join(t.watched(), ", ")))
}

// ending says that the end has begun.
func (s *service) ending() {
	if s != nil {
		s.health.SetReady(false)
		s.heard(s.manager.Stopping())
	}
}

func (s *service) heard(err error) {
	if err != nil {
		s.log.Warn(err.Error())
	}
}

// turnEvery is how often the service looks after itself. Tracing turns at least
// once a second.
const turnEvery = time.Second

// turn is called between records.
func (s *service) turn(t *tracing) {
	if s == nil {
		return
	}
	now := time.Now()
	if now.Sub(s.turned) < turnEvery {
		return
	}
	s.turned = now
	s.health.Turned(now)
	s.book.Tick(now)
	s.metrics.Set(stateOf(t))
	select {
	case <-s.hup:
		s.reload()
	default:
	}
	if every := s.manager.Watchdog() / 3; every > 0 && now.Sub(s.alive) >= every {
		s.alive = now
		s.heard(s.manager.Alive())
	}
}

// reload reads the settings again and takes what can be taken while tracing.
func (s *service) reload() {
	s.heard(s.manager.Reloading())
	defer func() { s.heard(s.manager.Ready("watching")) }()
	next := new(monitorOptions)
	flags := newMonitorFlags(next)
	err := flags.Parse(s.args)
	var places settings.Places
	if err == nil {
		places, err = next.load(flags)
	}
	if err == nil {
		err = places.Locate(next.check())
	}
	if err != nil {
		s.log.Error("the settings are not taken: " + strings.ReplaceAll(err.Error(), "\n", "; "))
		return
	}
	taken, later := s.options.take(next)
	s.level.Set(s.options.level())
	s.book.Set(s.options.bookOptions())
	if err := s.server.Reload(); err != nil {
		s.log.Error("the token and the certificate of before stay: " + err.Error())
	}
	s.log.Info("settings read again", "taken", strings.Join(taken, " "))
	if len(later) > 0 {
		s.log.Warn("settings that need a restart were changed", "settings", strings.Join(later, " "))
	}
}

// stateOf is how tracing is now, for the metrics.
func stateOf(t *tracing) metrics.State {
	s := metrics.State{
		Records: t.live.Records, Lost: make(map[metrics.Lost]uint64), Probes: make(map[metrics.Probe]int),
		CPU: map[string]float64{metrics.PartUserSpace: userSpaceCPU().Seconds()},
	}
	for key, n := range t.live.Losses() {
		class, cause, _ := strings.Cut(key, " ")
		s.Lost[metrics.Lost{Class: class, Cause: cause}] = n
	}
	for _, o := range t.session.Plan() {
		way := "none"
		switch {
		case o.Way != nil:
			way = string(o.Way.Kind)
		case o.WaitsFor != "":
			way = "module"
		}
		s.Probes[metrics.Probe{Class: o.Detector, Way: way}]++
	}
	return s
}

// userSpaceCPU is the time that this process has taken, in user mode and in the
// kernel on its behalf.
func userSpaceCPU() time.Duration {
	var u unix.Rusage
	// It fails for a bad argument only.
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
