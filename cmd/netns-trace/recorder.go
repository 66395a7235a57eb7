// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/recording"
	"github.com/netns-trace/netns-trace/pkg/trace"
)

// recordOptions say what is recorded to, if anything.
type recordOptions struct {
	recording.Options
	only    bool     // the command is record: findings are not printed
	command []string // to run while recording
}

// recorder is the recording of a live run; a nil one records nothing.
type recorder struct {
	*recording.Recorder
	options recordOptions
	stop    func() // of listening to SIGUSR1
	child   *exec.Cmd
	ended   atomic.Bool   // the child has
	waited  chan struct{} // closed when it was waited for
}

// openRecorder makes the file, before anything is attached.
func openRecorder(ctx context.Context, o recordOptions) (*recorder, error) {
	if o.Path == "" {
		return nil, nil
	}
	if o.Path == "-" && term.IsTerminal(int(os.Stdout.Fd())) {
		return nil, usagef("a recording is not written to a terminal: name a file, or pipe it")
	}
	r, err := recording.Create(ctx, o.Options)
	if err != nil {
		return nil, err
	}
	rec := &recorder{Recorder: r, options: o}
	usr1 := make(chan os.Signal, 1)
	if o.Last > 0 {
		signal.Notify(usr1, syscall.SIGUSR1)
	}
	done := make(chan struct{})
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		for {
			select {
			case <-usr1:
				r.Trigger()
			case <-done:
				return
			}
		}
	}()
	rec.stop = func() {
		signal.Stop(usr1)
		close(done)
		<-listening
	}
	return rec, nil
}

// where says what is recorded to, as a line.
func (r *recorder) where() string {
	switch {
	case r == nil:
		return ""
	case r.options.Path == "-":
		return "recording to standard output\n"
	case r.options.Last > 0:
		return fmt.Sprintf("holding the last %s for %s\n", r.options.Last, r.options.Path)
	}
	return "recording to " + r.options.Path + "\n"
}

// discard is for a run that did not come to be.
func (r *recorder) discard() {
	if r != nil {
		r.stop()
		r.Discard()
	}
}

// begin writes the start section and taps the engine.
func (r *recorder) begin(t *tracing, engine *trace.Engine, clock *record.Clock) error {
	if r == nil {
		return nil
	}
	start, err := t.startSection(clock)
	if err != nil {
		return err
	}
	engine.SetTap(r)
	return r.Begin(start)
}

// startSection is what is known when everything is attached.
func (t *tracing) startSection(clock *record.Clock) (recording.Start, error) {
	plan, err := json.Marshal(t.session.Plan())
	if err != nil {
		return recording.Start{}, fmt.Errorf("describing how things are seen: %w", err)
	}
	layouts, err := t.session.Layouts()
	if err != nil {
		return recording.Start{}, err
	}
	zone, offset := time.Now().Zone()
	return recording.Start{
		Tool: versionString(), Zone: recording.Zone{Name: zone, Offset: offset},
		Host:   host(),
		Clock:  recording.Clocks{Monotonic: clock.When(), Realtime: clock.Realtime, Boottime: clock.Boottime},
		Config: t.config(), Command: os.Args, Watched: t.watched(),
		Plan: plan, Unseen: t.session.Plan().Lost(), Raw: layouts,
	}, nil
}

// kernelOptions are those of the kernel's configuration that a reader of a report
// asks for.
var kernelOptions = [...]string{
	"CONFIG_NET_DEV_REFCNT_TRACKER", "CONFIG_NET_NS_REFCNT_TRACKER", "CONFIG_PCPU_DEV_REFCNT", "CONFIG_PREEMPT_RT",
	"CONFIG_PREEMPT_DYNAMIC", "CONFIG_RANDOMIZE_BASE", "CONFIG_VETH", "CONFIG_XFRM", "CONFIG_LOCALVERSION",
	"CONFIG_CC_VERSION_TEXT", "CONFIG_DEBUG_INFO_BTF_MODULES", "CONFIG_FPROBE", "CONFIG_FUNCTION_TRACER",
}

func host() recording.Host {
	var u unix.Utsname
	// It fails for a bad pointer only.
	_ = unix.Uname(&u)
	h := recording.Host{
		Name: unix.ByteSliceToString(u.Nodename[:]), System: unix.ByteSliceToString(u.Sysname[:]),
		Release: unix.ByteSliceToString(u.Release[:]), Version: unix.ByteSliceToString(u.Version[:]),
		Machine: unix.ByteSliceToString(u.Machine[:]),
		Kernel:  kernel.ReadConfig(kernelOptions[:]...),
	}
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		h.BootID = strings.TrimSpace(string(id))
	}
	return h
}

// launch starts the command that is recorded, once everything is attached.
func (r *recorder) launch() error {
	if r == nil || len(r.options.command) == 0 {
		return nil
	}
	c := exec.Command(r.options.command[0], r.options.command[1:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	if r.options.Path == "-" {
		c.Stdout = os.Stderr // standard output has the recording
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("running the command: %w", err)
	}
	r.child, r.waited = c, make(chan struct{})
	go func() {
		defer close(r.waited)
		// How it ended is in its ProcessState.
		_ = c.Wait()
		r.ended.Store(true)
	}()
	return nil
}

// done is when there is no reason to go on.
func (r *recorder) done() bool { return r != nil && (r.Err() != nil || r.ended.Load()) }

// hear triggers a flight recorder: something was found.
func (r *recorder) hear() {
	if r != nil {
		r.Trigger()
	}
}

// finish ends the recording.
func (r *recorder) finish(t *tracing) error {
	if r == nil {
		return nil
	}
	if t.live == nil { // it did not come to be
		r.discard()
		return nil
	}
	r.stop()
	err := r.Finish(recording.End{
		Time: probe.Now(), Duration: time.Since(t.started), Read: t.live.Records, Lost: t.live.Losses(),
		Unseen: t.session.Plan().Lost(), Watched: t.watched(), Found: t.tally.ByKind(),
	})
	return errors.Join(err, r.leave(t))
}

// leave sees the command out: one that is still running when the recording ends has
// got the signal that ended it too, or goes on by itself.
func (r *recorder) leave(t *tracing) error {
	if r.child == nil {
		return nil
	}
	if !r.ended.Load() {
		if err := r.child.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("ending the command: %w", err)
		}
	}
	<-r.waited
	if state := r.child.ProcessState; !state.Success() {
		t.say.printf("note: %s ended with %s\n", r.options.command[0], state)
	}
	return nil
}

// written says what became of the recording.
func (r *recorder) written(say speaker) {
	if r == nil {
		return
	}
	files := r.Files()
	bytes, records := r.Written()
	switch {
	case r.options.Path == "-":
		say.printf("wrote   %s, %d records, to standard output\n", size(bytes), records)
	case len(files) == 0:
		say.printf("wrote   nothing: nothing was found\n")
	default:
		say.printf("wrote   %s, %d records: %s\n", size(bytes), records, strings.Join(files, " "))
	}
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d bytes", n)
	case n < 10_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
