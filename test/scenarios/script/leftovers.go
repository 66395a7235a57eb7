// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/rogpeppe/go-internal/testscript"
)

// leftovers is the kernel's own list of what tracing programs there are: BPF
// programs, links, kprobes, and the event definitions of tracefs.
func leftovers() ([]string, error) {
	var out []string
	for id, err := ebpf.ProgramGetNextID(0); ; id, err = ebpf.ProgramGetNextID(id) {
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("listing BPF programs: %w", err)
		}
		if name, tracing := describe(id); tracing {
			out = append(out, name)
		}
	}
	for it := new(link.Iterator); it.Next(); {
		info, err := it.Link.Info()
		if err != nil {
			return nil, fmt.Errorf("looking at a BPF link: %w", err)
		}
		out = append(out, fmt.Sprintf("link type %d", info.Type))
	}
	for _, file := range []string{"/sys/kernel/debug/kprobes/list", "/sys/kernel/tracing/kprobe_events"} {
		text, err := os.ReadFile(file)
		if err != nil && lockedDown() {
			continue // it hides these files, and lets nobody put anything there
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			out = append(out, file+": "+strings.TrimSpace(line))
		}
	}
	return out, nil
}

// lockedDown reports whether the kernel keeps its memory confidential.
func lockedDown() bool {
	level, err := os.ReadFile("/sys/kernel/security/lockdown")
	return err == nil && strings.Contains(string(level), "[confidentiality]")
}

// describe names a program; dockerd and systemd have programs of their own, of
// other types, that come and go.
func describe(id ebpf.ProgramID) (name string, tracing bool) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil { // gone meanwhile
		return "", false
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return fmt.Sprintf("program %d", id), true
	}
	types := []ebpf.ProgramType{ebpf.Kprobe, ebpf.Tracing, ebpf.RawTracepoint, ebpf.TracePoint, ebpf.PerfEvent}
	return fmt.Sprintf("program %s (%s)", info.Name, info.Type), slices.Contains(types, info.Type)
}

// settle waits until there is no more than before: the kernel frees programs some
// time after the process that held them has gone.
func settle(before []string) error {
	var extra []string
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		now, err := leftovers()
		if err != nil {
			return err
		}
		extra = slices.DeleteFunc(now, func(one string) bool { return slices.Contains(before, one) })
		if len(extra) == 0 || time.Now().After(deadline) {
			break
		}
	}
	if len(extra) > 0 {
		return fmt.Errorf("left behind in the kernel:\n  %s", strings.Join(extra, "\n  "))
	}
	return nil
}

// attached holds if tracing programs are in the kernel; `! attached` if, after a
// while, none is.
func attached(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) > 0 {
		ts.Fatalf("usage: attached")
	}
	if neg {
		ts.Check(settle(nil))
		return
	}
	now, err := leftovers()
	ts.Check(err)
	if len(now) == 0 {
		ts.Fatalf("no tracing program is attached")
	}
}
