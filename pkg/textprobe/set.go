// SPDX-License-Identifier: Apache-2.0

package textprobe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cilium/ebpf"
)

// Target is one place to probe.
type Target struct {
	// Addr is the address of an instruction's first byte.
	Addr uint64
	// Module is the loadable module that the address is in, empty for the kernel
	// image.
	Module string
}

// Refusal is a target that the kernel did not let be probed.
type Refusal struct {
	Target
	// Reason is the kernel's error, a syscall.Errno within.
	Reason error
}

// Options says how to attach.
type Options struct {
	// NoTracefs leaves out the way through tracefs.
	NoTracefs bool
	// Name tells the sets of one process apart: letters and digits, at most 16,
	// and different for each set. Empty is "s".
	Name string
	// Reaper, if not nil, serves this set and others that are opened when it is closed.
	Reaper *Reaper
	// Progress, if set, is called by Attach after every few targets of a stage, with
	// how many of the stage have been tried.
	Progress func(tried int)
}

// Counts is what a set has done so far.
type Counts struct {
	// Attached is how many targets have the program now.
	Attached int
	// Refused is how many the kernel refused, since the set was opened.
	Refused int
	// Stages is how many perf events are open.
	Stages int
}

// ErrClosed says that the set was closed before.
var ErrClosed = errors.New("the set of probes is closed")

// way is how targets get the program.
type way interface {
	fmt.Stringer
	// attach adds targets and returns those that have the program and those that were
	// refused. With an error the first may not have it.
	attach(ctx context.Context, stage []Target) (attached []Target, refused []Refusal, err error)
	// forget frees what was attached in a module that is gone.
	forget(ctx context.Context, module string) error
	// events is how many perf events are open.
	events() int
	// takesToClose is how long close takes, roughly.
	takesToClose() time.Duration
	// close disarms everything.
	close() error
}

// Set is one BPF program on many addresses. Its methods may be called from any
// goroutine; a Close waits for an Attach to return, which its context hurries.
type Set struct {
	mu       sync.Mutex
	way      way
	name     string // of the way; it stays when the set is closed
	why      error  // why it is not the first
	attached map[Target]struct{}
	refused  int
	// profile is where the kernel tells of events' hits, events what their names begin
	// with. "": there are no events.
	profile, events string

	// until ends when Close is called, so that it need not wait for Forget.
	until context.Context
	end   context.CancelFunc
}

// Open prepares to attach prog, a program of type kprobe. Its context there has
// ip == address + 1. Nothing is probed yet. Groups of dead processes are deleted in
// the background. The set must be closed.
func Open(prog *ebpf.Program, o Options) (*Set, error) {
	if o.Name == "" {
		o.Name = defaultName
	}
	if o.Progress == nil {
		o.Progress = func(int) {}
	}
	if !validName(o.Name) {
		return nil, fmt.Errorf("opening a set of probes: %q is no name of letters and digits", o.Name)
	}
	s := &Set{attached: make(map[Target]struct{})}
	if !o.NoTracefs {
		traced, err := openTraced(prog, o)
		if err == nil {
			s.way, s.profile, s.events = traced, profileIn(traced.dir), traced.name+"_"
		}
		s.why = err
	}
	if s.way == nil {
		single, err := openSingle(prog, o.Progress)
		if err != nil {
			return nil, errors.Join(s.why, err)
		}
		s.way = single
	}
	s.name = s.way.String()
	s.until, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Attach puts the program on one more stage of targets, all at once, and returns those
// that the kernel refused. A target that has the program already is passed over. When
// ctx ends Attach returns its error soon, and the set is to be closed: part of the
// stage may then be probed.
//
// Two or three stages are a good number: what must be seen first, then the rest. From
// the fourth on targets are armed one by one, which takes longer but keeps Close quick.
func (s *Set) Attach(ctx context.Context, stage []Target) ([]Refusal, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.way == nil {
		return nil, ErrClosed
	}
	var fresh []Target
	seen := make(map[Target]struct{}, len(stage))
	for _, t := range stage {
		_, has := s.attached[t]
		_, twice := seen[t]
		if !has && !twice {
			seen[t] = struct{}{}
			fresh = append(fresh, t)
		}
	}
	if len(fresh) == 0 {
		return nil, nil
	}
	attached, refused, err := s.way.attach(ctx, fresh)
	for _, t := range attached {
		s.attached[t] = struct{}{}
	}
	s.refused += len(refused)
	if err != nil {
		return refused, fmt.Errorf("probing %d addresses: %w", len(fresh), err)
	}
	return refused, nil
}

// Forget tells that the module is gone. Its probes died with it; when it is loaded
// again its addresses may be attached anew. It frees what the kernel kept of them,
// which takes about 20 ms a probe.
func (s *Set) Forget(module string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.way == nil || module == "" {
		return
	}
	for t := range s.attached {
		if t.Module == module {
			delete(s.attached, t)
		}
	}
	// What could not be freed now goes when the set is closed.
	_ = s.way.forget(s.until, module)
}

// Way is how the targets are attached: "tracefs" or "perf events".
func (s *Set) Way() string { return s.name }

// WhyNotTracefs is why Way is not "tracefs" though it was allowed; nil when it is.
func (s *Set) WhyNotTracefs() error { return s.why }

// Counts returns what has been done so far.
func (s *Set) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := Counts{Attached: len(s.attached), Refused: s.refused}
	if s.way != nil {
		c.Stages = s.way.events()
	}
	return c
}

// CloseTakes returns how long Close would take now, from what was measured under
// emulation: for who has to tell somebody that it will not be soon. By the way "perf
// events" it is many seconds, and as long after SIGKILL.
func (s *Set) CloseTakes() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.way == nil {
		return 0
	}
	return s.way.takesToClose()
}

// Close takes the program off everywhere. When it returns no probe is armed. The
// definitions in tracefs are deleted in the background, also after this process's end.
func (s *Set) Close() error {
	s.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.way == nil {
		return nil
	}
	err := s.way.close()
	s.way = nil
	clear(s.attached)
	if err != nil {
		return fmt.Errorf("taking the probes off: %w", err)
	}
	return nil
}

// validName: what tracefs allows in a name that a number follows.
func validName(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return name != "" && len(name) <= 16
}
