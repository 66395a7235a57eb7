// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/identity"
	"github.com/netns-trace/netns-trace/pkg/trace"
)

// targets are the processes named by --pid, as they were when it was typed.
type targets []identity.Process

// findTargets looks the pids up. The id of any thread of a process will do.
func findTargets(names *identity.Namer, pids []int) (targets, error) {
	var out targets
	for _, pid := range pids {
		p, err := names.Process(pid)
		if thread := (identity.NotLeaderError{}); errors.As(err, &thread) {
			p, err = names.Process(thread.TGID)
		}
		if errors.Is(err, identity.ErrNoProcess) {
			return nil, fmt.Errorf("--pid: there is no process with pid %d", pid)
		}
		if err != nil {
			return nil, fmt.Errorf("--pid: looking at process %d: %w", pid, err)
		}
		if !slices.ContainsFunc(out, func(o identity.Process) bool { return o.PID == p.PID }) {
			out = append(out, p)
		}
	}
	return out, nil
}

func (t targets) pids() []int {
	var out []int
	for _, p := range t {
		out = append(out, p.PID)
	}
	return out
}

// check holds what came under watch against what was asked for: a process may
// have exited meanwhile, and another may have got its pid.
func (t targets) check(seen *trace.Processes) error {
	const tick = 10_000_000 // ns in a clock tick of /proc
	var errs []error
	for _, p := range t {
		leader, ok := seen.Seen[uint32(p.PID)]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("pid %d (%s) cannot be watched: it exited, or is a thread of the kernel", p.PID, p.Comm))
		case leader.Start/tick != p.StartTicks:
			errs = append(errs, fmt.Errorf("pid %d (%s) exited; the process that has its number now (%s) is watched instead",
				p.PID, p.Comm, leader.Comm))
		}
	}
	return errors.Join(errs...)
}

// gone lists those that did not come under watch.
func (t targets) gone(seen *trace.Processes) []int {
	var out []int
	for _, p := range t {
		if _, ok := seen.Seen[uint32(p.PID)]; !ok {
			out = append(out, p.PID)
		}
	}
	return out
}

func (t targets) String() string {
	var out []string
	for _, p := range t {
		threads := "threads"
		if p.Threads == 1 {
			threads = "thread"
		}
		out = append(out, fmt.Sprintf("pid %d (%s, %d %s)", p.PID, p.Comm, p.Threads, threads))
	}
	return strings.Join(out, " and ")
}
