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

// lost is a target that cannot be watched.
type lost struct {
	identity.Process
	why string
}

func (l lost) String() string { return fmt.Sprintf("pid %d (%s) %s", l.PID, l.Comm, l.why) }

// stillThere splits the targets by what became of them since they were looked up: a
// process may have exited meanwhile, and another may have got its number.
func (t targets) stillThere(lookUp func(pid int) (identity.Process, error)) (still targets, gone []lost) {
	for _, p := range t {
		now, err := lookUp(p.PID)
		thread := identity.NotLeaderError{}
		switch {
		case errors.Is(err, identity.ErrNoProcess):
			gone = append(gone, lost{p, "exited"})
		case errors.As(err, &thread):
			gone = append(gone, lost{p, fmt.Sprintf("exited; its number is now that of a thread of process %d, which is not watched", thread.TGID)})
		case err == nil && now.StartTicks != p.StartTicks:
			gone = append(gone, lost{p, fmt.Sprintf("exited; its number is now that of another process (%s), which is not watched", now.Comm)})
		default: // what cannot be told is left to the kernel's programs
			still = append(still, p)
		}
	}
	return still, gone
}

// seen splits the targets by whether the kernel's programs have come across them.
func (t targets) seen(processes *trace.Processes) (seen targets, gone []lost) {
	for _, p := range t {
		if _, ok := processes.Seen[uint32(p.PID)]; ok {
			seen = append(seen, p)
		} else {
			gone = append(gone, lost{p, "cannot be watched: it exited, or is a thread of the kernel"})
		}
	}
	return seen, gone
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
