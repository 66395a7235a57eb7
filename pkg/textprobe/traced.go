// SPDX-License-Identifier: Apache-2.0

package textprobe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/kernel"
)

// linesAWrite is how many probes are defined by one write: a signal ends this process
// between two writes only. One takes 7 to 12 ms under emulation.
const linesAWrite = 10

// traced is the way through tracefs: one event for each stage.
type traced struct {
	prog    *ebpf.Program
	dir     string // of tracefs
	group   group
	name    string
	file    *os.File // kprobe_events
	reaper  *reaper
	stages  []*perfEvent
	defined int // events
	serial  int // of the next definition
}

// errNamespaces: others would take the events for those of a dead process.
var errNamespaces = errors.New("kprobe events cannot be named after this process: it is not in the initial pid and time namespaces")

func openTraced(prog *ebpf.Program, name string) (*traced, error) {
	fs, err := kernel.FindTracefs()
	if err != nil {
		return nil, err
	}
	if ours, err := kernel.InInitProcessNamespaces(); err != nil {
		return nil, fmt.Errorf("naming the kprobe events: %w", err)
	} else if !ours {
		return nil, errNamespaces
	}
	g, err := ownGroup()
	if err != nil {
		return nil, fmt.Errorf("naming the kprobe events: %w", err)
	}
	w := &traced{prog: prog, dir: fs.Path, group: g, name: name}
	// Never with O_TRUNC: that would delete everybody's events.
	if w.file, err = os.OpenFile(filepath.Join(fs.Path, "kprobe_events"), os.O_WRONLY|os.O_APPEND, 0); err != nil {
		return nil, fmt.Errorf("opening tracefs for kprobe events: %w", err)
	}
	if w.reaper, err = startReaper(fs.Path, w.prefix()); err != nil {
		return nil, errors.Join(err, w.file.Close())
	}
	if err := reapStale(fs.Path); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *traced) String() string { return "tracefs" }

// prefix is what the definitions begin with in the kernel's list.
func (w *traced) prefix() string { return fmt.Sprintf("p:%s/%s_", w.group, w.name) }

func (w *traced) events() int { return len(w.stages) }

// attach defines one event with all addresses, and opens it.
func (w *traced) attach(ctx context.Context, stage []Target) (done []Target, refused []Refusal, err error) {
	event := w.name + "_" + strconv.Itoa(w.defined)
	for len(stage) > 0 {
		if err := ctx.Err(); err != nil {
			w.abandon(done)
			return nil, nil, err
		}
		batch := stage[:min(linesAWrite, len(stage))]
		stage = stage[len(batch):]
		d, r := w.define(event, batch)
		done, refused = append(done, d...), append(refused, r...)
	}
	if len(done) == 0 {
		return nil, refused, nil
	}
	w.defined++
	id, err := w.id(event)
	if err != nil {
		return nil, nil, err
	}
	e, err := openEvent(&unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: id}, w.prog)
	if err != nil {
		return nil, nil, err
	}
	w.stages = append(w.stages, e)
	return done, refused, nil
}

// abandon leaves an event that was begun to the reaper.
func (w *traced) abandon(done []Target) {
	if len(done) > 0 {
		w.defined++
	}
}

// define adds addresses to an event. The kernel takes a write line by line, stops at
// the first that it refuses, and does not tell which that was. So the batch is given
// again, line by line; those that were taken are known by EEXIST.
func (w *traced) define(event string, batch []Target) (done []Target, refused []Refusal) {
	lines := make([]string, len(batch))
	for i, t := range batch {
		// Equal probes of one event are refused, and all addresses look equal there:
		// the argument, a number that is never read, makes them differ.
		lines[i] = fmt.Sprintf("p:%s/%s %#x id=\\%d:u32\n", w.group, event, t.Addr, w.serial)
		w.serial++
	}
	if _, err := w.file.WriteString(strings.Join(lines, "")); err == nil {
		return batch, nil
	}
	for i, t := range batch {
		_, err := w.file.WriteString(lines[i])
		if err == nil || errors.Is(err, unix.EEXIST) {
			done = append(done, t)
			continue
		}
		refused = append(refused, Refusal{Target: t, Reason: err})
	}
	return done, refused
}

// id is the number by which perf knows an event.
func (w *traced) id(event string) (uint64, error) {
	path := filepath.Join(w.dir, "events", w.group.String(), event, "id")
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("reading the number of the kprobe event: %w", err)
	}
	id, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", path, err)
	}
	return id, nil
}

func (w *traced) forget(string) {}

func (w *traced) close() error {
	var errs []error
	for _, e := range w.stages {
		errs = append(errs, e.close())
	}
	return errors.Join(errors.Join(errs...), w.file.Close(), w.reaper.begin())
}
