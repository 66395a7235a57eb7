// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/identity"
	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/report"
	"github.com/netns-trace/netns-trace/pkg/textprobe"
	"github.com/netns-trace/netns-trace/pkg/trace"
	"github.com/netns-trace/netns-trace/pkg/userstack"
)

// live traces the running kernel.
func live(ctx context.Context, o *liveOptions) error {
	t := &tracing{options: o, say: o.speaker(), out: o.writer(os.Stdout), reaper: new(textprobe.Reaper)}
	if err := errors.Join(t.trace(ctx), t.reaper.Close()); err != nil {
		return err
	}
	return t.verdict()
}

// trace attaches, traces until there is a reason to end, and detaches.
func (t *tracing) trace(ctx context.Context) error {
	o := t.options
	if err := o.check(); err != nil {
		return err
	}
	home, err := o.homeInode()
	if err != nil {
		return err
	}
	names := identity.New("")
	if t.targets, err = findTargets(names, o.pids); err != nil {
		return err
	}
	sys, err := examine()
	if err != nil {
		return err
	}
	if o.searches() {
		if err := checkMemory(sys.access); err != nil {
			return fmt.Errorf("--refs %s: %w", o.refs, err)
		}
		if o.refs == refsTracker {
			if err := checkTracker(sys.kernel.Types); err != nil {
				return fmt.Errorf("--refs %s: %w", o.refs, err)
			}
		}
	}
	if t.recorder, err = openRecorder(ctx, o.record); err != nil {
		return err
	}
	// The symbols take the longest to read of all; they are read while the rest
	// gets ready.
	var reading sync.WaitGroup
	reading.Go(func() { sys.kernel.Symbols() })
	defer reading.Wait()

	t.session, err = probe.Open(ctx, sys.kernel, probe.Options{
		Detectors: o.only,
		Names:     true,
		Required:  o.required,
		Avoid:     kinds(o.avoid),
		RingBytes: o.ringBytes, TableBytes: o.tableBytes, Reaper: t.reaper,
		Threads: probe.ThreadsOptions{
			All:  len(o.pids) == 0 && len(o.comms) == 0,
			PIDs: t.targets.pids(), Comms: o.comms, Follow: o.follow,
			HomeInode: home, Away: o.away,
		},
		Refs: o.refsOptions(t.say.progress("attaching to reference sites")),
		Csum: probe.CsumOptions{Every: o.csumEvery, PerSecond: o.csumRate},
	})
	if err != nil {
		t.recorder.discard()
		if ctx.Err() != nil {
			return errors.New("interrupted before anything was watched")
		}
		return explain(err)
	}
	t.started = time.Now()
	err = t.start(names, sys)
	if err == nil {
		err = t.run(ctx, names)
	}
	return errors.Join(err, t.recorder.finish(t), t.session.Close())
}

// tracing is one run from "attached" to the last summary.
type tracing struct {
	options *liveOptions
	say     speaker
	session *probe.Session
	reaper  *textprobe.Reaper
	targets targets
	live    *trace.Live
	out     report.Writer
	tally   report.Tally
	started time.Time
	clock   *record.Clock // by which findings tell the time
	outErr  error

	recorder *recorder // nil: nothing is recorded
	service  *service  // nil: it is no service
}

func (t *tracing) start(names *identity.Namer, sys system) error {
	known := new(finding.Knowledge)
	detectors, _ := newDetectors(t.config(), known)
	namer := trace.NewNamer(names, sys.kernel.Symbols, userstack.New(userstack.Options{}), t.options.rawAddrs)
	plan := t.session.Plan()
	setup := &record.Setup{
		Time: record.Time(probe.Now()), SeesFree: plan.SeesFree(),
		ScansHolders:    plan.ScansHolders() || t.session.KeepsLedger(),
		HoldersByKprobe: plan.HoldersByKprobe(),
		DstExact:        t.session.DstExact(),
		SearchesMemory:  t.searches(),
	}
	if t.session.FollowsObjects() {
		setup.HoldersOneIn = t.options.sample.n()
	}
	if slices.Contains(t.options.only, probe.DetectorRefs) {
		if base := sys.refcountBase(); base.Err == nil {
			setup.RefcountBase, setup.RefcountBaseKnown = int32(base.Value.Base), true
		}
	}
	if cost := sys.hidden(t.session.Detectors()); cost != "" {
		t.say.printf("note: %s\n", cost)
	}
	engine := trace.NewEngine(known, t.found, detectors...)
	t.clock = probe.Clock()
	if err := t.recorder.begin(t, engine, t.clock); err != nil {
		return err
	}
	t.live = trace.NewLive(t.session, namer, engine, t.clock, setup)
	if t.options.noMoves {
		if err := t.live.TellMoves(probe.MovesUnseen); err != nil {
			return err
		}
	}
	if t.searches() {
		t.live.Search = searchMemory(t.options.maxMBps)
		t.live.Unsearched = func(err error) {
			t.say.printf("note: what holds a device that waits was searched for in vain: %v\n", err)
		}
	}
	return nil
}

// found takes a finding. After the first failure to write there is no reader to
// write for, and the run ends.
func (t *tracing) found(f *finding.Finding) {
	t.tally.Count(f)
	t.recorder.hear()
	if t.outErr == nil {
		t.outErr = t.out.Write(f)
	}
}

func (t *tracing) run(ctx context.Context, names *identity.Namer) error {
	still, gone := t.targets.stillThere(names.Process)
	if err := t.lose(gone, still); err != nil {
		return err
	}
	if err := t.live.Start(ctx); err != nil {
		return err
	}
	still, gone = still.seen(&t.live.Processes)
	if err := t.lose(gone, still); err != nil {
		return err
	}
	if err := t.ready(); err != nil {
		return err
	}
	if err := t.recorder.launch(); err != nil {
		return err
	}
	t.giveUp()
	if t.options.duration > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, t.options.duration)
		defer stop()
	}
	told := 0
	err := t.live.Run(ctx, func() bool {
		for gone := t.live.Processes.Gone; told < len(gone); told++ {
			t.say.printf("note: pid %d (%s) exited\n", gone[told].TGID, gone[told].Comm)
		}
		return t.service.turn(t) || t.outErr != nil || t.recorder.done() || t.nothingLeft()
	})
	t.service.ending()
	if err == nil {
		err = t.live.Finish(t.service == nil || !t.service.again)
	}
	return errors.Join(err, t.outErr)
}

// lose takes targets from under watch. It is an error if that leaves nothing of what
// the user named, else a note.
func (t *tracing) lose(gone []lost, still targets) error {
	t.targets = still
	var words []string
	for _, l := range gone {
		if err := t.session.Unwatch(l.PID); err != nil {
			return err
		}
		words = append(words, l.String())
	}
	switch {
	case len(gone) == 0:
		return nil
	case len(still) == 0 && len(t.options.comms) == 0:
		return errors.New(strings.Join(words, "; "))
	}
	t.say.printf("note: %s\n", strings.Join(words, "; "))
	return nil
}

// nothingLeft is when all that was to be watched has exited.
func (t *tracing) nothingLeft() bool {
	return len(t.targets) > 0 && len(t.options.comms) == 0 && len(t.session.Detectors()) == 1 &&
		len(t.live.Processes.Seen) == 0
}

// ready says that everything is attached.
func (t *tracing) ready() error {
	// Reading the kernel's types and symbols leaves as much garbage as all that is
	// kept; a tool that may run for weeks gives it back.
	debug.FreeOSMemory()
	if path := t.options.readyFile; path != "" {
		if err := os.WriteFile(path, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o644); err != nil {
			return fmt.Errorf("saying that tracing is ready: %w", err)
		}
	}
	for _, o := range t.session.Plan() {
		if o.WaitsFor != "" {
			t.say.printf("note: cannot see %s: module %s is not loaded (will attach when it is)\n", o.Thing, o.WaitsFor)
		}
	}
	for _, lost := range t.session.Plan().Lost() {
		t.say.printf("note: %s\n", lost)
	}
	t.live.Attached = func(plan []probe.Outcome) { t.say.printf("note: module loaded: now\n%s", indent(planText(plan))) }
	if t.options.verbose {
		t.say.printf("%s", planText(t.session.Plan()))
	}
	if t.service != nil {
		t.service.ready(t)
		return nil
	}
	t.say.printf("watching %s; Ctrl-C ends\n%s", strings.Join(t.watched(), ", "), t.recorder.where())
	return nil
}

// watched is what is watched, in words.
func (t *tracing) watched() []string {
	var out []string
	for _, class := range t.session.Detectors() {
		what := "this host"
		if class == probe.DetectorThreads {
			what = t.targets.String()
			for _, comm := range t.options.comms {
				what += fmt.Sprintf(" every %q", comm)
			}
			if what == "" {
				what = "all processes"
			}
			what = strings.TrimSpace(what)
		}
		out = append(out, class+" of "+what)
	}
	return out
}

// verdict is the last summary, and whether something was found.
func (t *tracing) verdict() error {
	if !t.options.quiet {
		summary := report.Summary{
			Watched: t.watched(), Duration: time.Since(t.started),
			Records: t.live.Records, Lost: t.live.Losses(),
		}
		summary.Unseen = t.session.Plan().Lost()
		if err := summary.Write(os.Stderr, &t.tally); err != nil {
			return fmt.Errorf("writing the summary: %w", err)
		}
		t.recorder.written(t.say)
	}
	if t.tally.Incidents() > 0 {
		return errFound
	}
	return nil
}

// speaker says what is not a finding, unless the user wants quiet.
type speaker struct{ w io.Writer }

func (s speaker) printf(format string, args ...any) {
	// There is nowhere to report that standard error cannot be written to.
	_, _ = fmt.Fprintf(s.w, format, args...)
}

// progress shows how far a long step is, on a terminal only.
func (s speaker) progress(what string) func(done, all int) {
	f, ok := s.w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return func(done, all int) {
		const clear = "\r\x1b[K"
		s.printf("%s%s: %d of %d", clear, what, done, all)
		if done == all {
			s.printf(clear)
		}
	}
}

func (o *liveOptions) speaker() speaker {
	if o.quiet {
		return speaker{io.Discard}
	}
	return speaker{os.Stderr}
}

func (o *liveOptions) writer(f *os.File) report.Writer {
	switch {
	case o.record.only:
		return report.Nothing{}
	case o.json || o.format == formJSON:
		return report.JSON{W: f}
	case o.format == string(report.RefTracker), o.format == string(report.Balance):
		return report.Forms{W: f, Form: report.Form(o.format)}
	}
	color := o.color == "always" ||
		o.color == "auto" && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return report.Text{W: f, Color: color, Verbose: o.verbose}
}

func kinds(names []string) []probe.Kind {
	var out []probe.Kind
	for _, n := range names {
		out = append(out, probe.Kind(n))
	}
	return out
}
