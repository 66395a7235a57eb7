// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/netns-trace/netns-trace/pkg/identity"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/trace"
)

// words is what is said of those that are gone.
func words(gone []lost) []string {
	var out []string
	for _, l := range gone {
		out = append(out, l.String())
	}
	return out
}

func TestTargetsThatWentWhileAttaching(t *testing.T) {
	named := targets{
		{PID: 5, Comm: "dockerd", StartTicks: 100, Threads: 12},
		{PID: 6, Comm: "sleep", StartTicks: 200, Threads: 1},
		{PID: 7, Comm: "sh", StartTicks: 300},
		{PID: 8, Comm: "runc", StartTicks: 400},
		{PID: 9, Comm: "hidden", StartTicks: 500},
	}
	now := map[int]identity.Process{
		5: {PID: 5, Comm: "dockerd2", StartTicks: 100}, // it has another name now, and is the same
		7: {PID: 7, Comm: "nginx", StartTicks: 999},
	}
	still, gone := named.stillThere(func(pid int) (identity.Process, error) {
		switch pid {
		case 8:
			return identity.Process{}, fmt.Errorf("looking: %w", identity.NotLeaderError{TID: 8, TGID: 3})
		case 9:
			return identity.Process{}, os.ErrPermission
		}
		if p, ok := now[pid]; ok {
			return p, nil
		}
		return identity.Process{}, fmt.Errorf("looking: %w", identity.ErrNoProcess)
	})
	if want := []int{5, 9}; !slices.Equal(still.pids(), want) {
		t.Errorf("still there: %v, want %v", still.pids(), want)
	}
	want := []string{
		"pid 6 (sleep) exited",
		"pid 7 (sh) exited; its number is now that of another process (nginx), which is not watched",
		"pid 8 (runc) exited; its number is now that of a thread of process 3, which is not watched",
	}
	if got := words(gone); !slices.Equal(got, want) {
		t.Errorf("gone: %q, want %q", got, want)
	}
}

func TestTargetsThatTheKernelHasNot(t *testing.T) {
	named := targets{{PID: 2, Comm: "kthreadd", Threads: 1}, {PID: 5, Comm: "dockerd", Threads: 12}}
	seen, gone := named.seen(&trace.Processes{Seen: map[uint32]record.Thread{5: {TGID: 5}}})
	if got, want := seen.String(), "pid 5 (dockerd, 12 threads)"; got != want {
		t.Errorf("seen: %q, want %q", got, want)
	}
	if got, want := words(gone), []string{"pid 2 (kthreadd) cannot be watched: it exited, or is a thread of the kernel"}; !slices.Equal(got, want) {
		t.Errorf("gone: %q, want %q", got, want)
	}
	if got, want := named.String(), "pid 2 (kthreadd, 1 thread) and pid 5 (dockerd, 12 threads)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
