// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/incident"
	"github.com/netns-trace/netns-trace/pkg/metrics"
	"github.com/netns-trace/netns-trace/pkg/monitor"
	"github.com/netns-trace/netns-trace/pkg/otlp"
	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/settings"
	"github.com/netns-trace/netns-trace/pkg/systemd"
	"github.com/netns-trace/netns-trace/pkg/textprobe"
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
	otlp    *otlp.Exporter  // nil: nothing is sent
	health  monitor.Health
	budget  keeper
	again   bool // trace anew
	few     bool // what is not needed any more was given up
}

func runMonitor(ctx context.Context, o *monitorOptions, args []string) error {
	s := &service{options: o, args: args, level: new(slog.LevelVar), hup: make(chan os.Signal, 1)}
	s.level.Set(o.level())
	// With huge pages each part of the heap that is touched is 2 MiB of memory, for ever:
	// where they are given to all, the process grew in such steps. An old kernel has no
	// such call, and then it stays so.
	_ = unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0)
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
	if err := s.export(); err != nil {
		return errors.Join(err, s.server.Close())
	}
	s.budget = keeper{log: s.log, searchable: canSearch()}
	s.budget.set(o)
	stop := s.guard()
	err := s.trace(ctx)
	stop()
	if e := s.otlp.Close(); e != nil {
		s.log.Warn(e.Error(), "lost", s.otlp.Lost())
	}
	if err := errors.Join(err, s.server.Close()); err != nil {
		return err
	}
	s.log.Info("ended", "incidents_open", s.book.Open())
	return nil
}

// How much garbage there may be, in percent of what is kept. To begin makes three times as
// much of it as is kept, and is to be over soon. Then there is little, and as much memory
// as is kept would be taken for it, for ever; a quarter is collected in milliseconds,
// twice a minute with busy churn.
const (
	startingGC = 100
	watchingGC = 25
)

// collectAt sets that, unless whoever runs the service has.
func collectAt(percent int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

// trace traces until the end, anew when the budget wants other classes.
func (s *service) trace(ctx context.Context) (err error) {
	reaper := new(textprobe.Reaper)
	defer func() { err = errors.Join(err, s.clear(reaper)) }()
	for {
		live := s.options.live
		s.budget.leaveOut(&live)
		t := &tracing{options: &live, say: speaker{logLines{s.log}}, out: s, service: s, reaper: reaper}
		s.again = false
		collectAt(startingGC)
		if err := t.trace(ctx); err != nil || !s.again || ctx.Err() != nil {
			return err
		}
		// What is still so will be found again.
		s.book.Restart()
		s.metrics.Restart()
	}
}

// clearing is less than the 30 seconds that Kubernetes has for an end, with what else
// there is to do in them.
const clearing = 10 * time.Second

// clear waits, in a container, for kprobe events to be deleted: its runtime may kill who
// does that when this process ends. What stays does nothing, and the next start deletes it.
func (s *service) clear(reaper *textprobe.Reaper) error {
	if !inContainer() {
		return reaper.Close()
	}
	ctx, stop := context.WithTimeout(context.Background(), clearing)
	defer stop()
	if err := reaper.Wait(ctx); err != nil {
		s.log.Warn(err.Error())
	}
	return reaper.Close()
}

// inContainer reports whether the root directory is another one than init's. A unit of
// systemd with a mount namespace of its own has the same.
func inContainer() bool {
	own, err := os.Stat("/")
	if err != nil {
		return true
	}
	init, err := os.Stat("/proc/1/root/")
	return err != nil || !os.SameFile(own, init)
}

// profileEvery is of how many bytes one allocation is in the profile, once somebody may
// ask for it: Go's own choice.
const profileEvery = 512 << 10

func (s *service) serve() (err error) {
	o := s.options
	if o.listen == "" {
		return nil
	}
	if o.pprof {
		runtime.MemProfileRate = profileEvery
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

// guard ends the process when nothing reads any more what the programs in the kernel
// write: they go with it. The result stops guarding.
func (s *service) guard() (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		var w monitor.Watchdog
		look := time.NewTicker(monitor.WatchdogEvery)
		defer look.Stop()
		for {
			select {
			case <-done:
				return
			case <-look.C:
				if w.Look(s.health.Turns()) {
					s.log.Error("no record was looked for in 30 seconds: the process ends, so that nothing stays attached")
					os.Exit(exitError)
				}
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// export begins to send to a collector, whether it is there or not.
func (s *service) export() (err error) {
	if s.options.otlp == "" {
		return nil
	}
	resource := map[string]string{
		"service.name": "netns-trace", "service.version": versionString(), "os.type": "linux", "os.version": kernelRelease(),
	}
	if name, err := os.Hostname(); err == nil {
		resource["host.name"] = name
	}
	s.otlp, err = otlp.New(otlp.Options{
		Endpoint: s.options.otlp, Gzip: true, Resource: resource, Gatherer: s.metrics.Gatherer(), Log: s.log,
	})
	if err == nil {
		s.sinks = append(s.sinks, s.otlp)
	}
	return err
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
	collectAt(watchingGC)
	s.budget.ready(t, time.Now())
	s.log.Info("watching", "version", versionString(), "what", strings.Join(t.watched(), ", "))
	s.heard(s.manager.Ready(status(t)))
}

// status is what `systemctl status` shows.
func status(t *tracing) string { return "watching " + strings.Join(t.watched(), ", ") }

// ending says that the end has begun, of tracing or of the service.
func (s *service) ending() {
	if s == nil {
		return
	}
	s.health.SetReady(false)
	if !s.again {
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

// turn is called between records. It reports whether tracing has to end, to begin
// anew.
func (s *service) turn(t *tracing) bool {
	if s == nil {
		return false
	}
	if now := time.Now(); now.Sub(s.turned) >= turnEvery {
		s.lookAfter(t, now)
	}
	return s.again
}

func (s *service) lookAfter(t *tracing, now time.Time) {
	s.turned = now
	s.health.Turned(now)
	s.followClock(t)
	s.book.Tick(now)
	if s.again = s.budget.turn(t, now) || s.again; s.again {
		return
	}
	s.metrics.Set(s.state(t, now))
	select {
	case <-s.hup:
		s.reload(t)
	default:
	}
	if every := s.manager.Watchdog() / 3; every > 0 && now.Sub(s.alive) >= every {
		s.alive = now
		s.heard(s.manager.Alive())
	}
}

// clockSet is by how much the wall clock has to differ from what it should be to have
// been set.
const clockSet = time.Second

// followClock takes in that the wall clock was set. The kernel's records have another
// clock, and what lasts so long is measured by that.
func (s *service) followClock(t *tracing) {
	clock := probe.Clock()
	by := time.Duration(clock.Realtime-t.clock.Realtime) - time.Duration(clock.Time-t.clock.Time)
	if by.Abs() < clockSet {
		return
	}
	t.clock = clock
	t.live.SetClock(clock)
	s.book.Shift(by)
	s.log.Info("the wall clock was set", "seconds", math.Round(by.Seconds()))
}

// reload reads the settings again and takes what can be taken while tracing.
func (s *service) reload(t *tracing) {
	s.heard(s.manager.Reloading())
	defer func() { s.heard(s.manager.Ready(status(t))) }()
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
	s.budget.set(s.options)
	if err := s.server.Reload(); err != nil {
		s.log.Error("the token and the certificate of before stay: " + err.Error())
	}
	s.log.Info("settings read again", "taken", strings.Join(taken, " "))
	if len(later) > 0 {
		s.log.Warn("settings that need a restart were changed", "settings", strings.Join(later, " "))
	}
}

// state is how tracing is now, for the metrics.
func (s *service) state(t *tracing, now time.Time) metrics.State {
	state := stateOf(t)
	s.budget.tell(&state, now)
	if n := s.otlp.Lost(); n > 0 {
		state.Lost[metrics.Lost{Class: "otlp", Cause: "not_sent"}] = n
	}
	return state
}

func stateOf(t *tracing) metrics.State {
	s := metrics.State{
		Records: t.live.Records, Lost: make(map[metrics.Lost]uint64), Probes: make(map[metrics.Probe]int),
		CPU:  map[string]float64{metrics.PartUserSpace: userSpaceCPU().Seconds()},
		Over: make(map[string]bool),
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
