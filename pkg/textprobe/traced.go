// SPDX-License-Identifier: Apache-2.0

package textprobe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/kernel"
)

const (
	// linesAWrite is how many probes are defined by one write: a signal ends this
	// process between two writes only. One probe takes 6 to 20 ms under emulation,
	// since the kernel decodes the whole function.
	linesAWrite = 10
	// maxEvents bounds the time that Close takes: each event but the first waits
	// another 0.1 s, for the kernel's RCU and its optimizer of kprobes.
	maxEvents = 3
)

// traced is the way through tracefs. Each stage becomes an event, until there are
// maxEvents; what comes then is added to the last one.
type traced struct {
	prog     *ebpf.Program
	progress func(int)
	dir      string // of tracefs
	group    group
	name     string   // what the names of its events begin with
	file     *os.File // kprobe_events
	reaper   *Reaper
	own      bool // the reaper serves this set only
	begun    int  // events that have a name
	open     []*event
	serial   int // of the next definition
}

// event is a kprobe event that is open.
type event struct {
	name string
	perf *Event
	// serials are the numbers of its definitions, by which they are found again.
	serials map[Target]int
}

// errNamespaces: others would take the events for those of a dead process.
var errNamespaces = errors.New("kprobe events cannot be named after this process: it is not in the first pid and time namespaces")

func openTraced(prog *ebpf.Program, o Options) (*traced, error) {
	tracefs, err := kernel.FindTracefs()
	if err != nil {
		return nil, err
	}
	g, name, err := ownNames(o.Name)
	if err != nil {
		return nil, err
	}
	w := &traced{prog: prog, progress: o.Progress, dir: tracefs.Path, group: g, reaper: o.Reaper}
	if w.own = w.reaper == nil; w.own {
		w.reaper = new(Reaper)
	}
	// Never with O_TRUNC: that would delete everybody's events.
	if w.file, err = os.OpenFile(w.list(), os.O_WRONLY|os.O_APPEND, 0); err != nil {
		return nil, fmt.Errorf("opening tracefs for kprobe events: %w", err)
	}
	letter, err := w.reaper.use(w.dir, g, name)
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	w.name = name + "_" + letter
	return w, nil
}

// defaultName is that of Options.Name.
const defaultName = "s"

// ownNames are the group that this process's events are in, and what their names begin
// with: name and the pid, since where the kernel lists events' hits there is no group.
func ownNames(name string) (group, string, error) {
	if ours, err := kernel.InInitProcessNamespaces(); err != nil {
		return group{}, "", fmt.Errorf("naming the kprobe events: %w", err)
	} else if !ours {
		return group{}, "", errNamespaces
	}
	g, err := ownGroup()
	if err != nil {
		return group{}, "", fmt.Errorf("naming the kprobe events: %w", err)
	}
	return g, name + strconv.Itoa(g.pid), nil
}

func (w *traced) String() string { return "tracefs" }

// list is the kernel's list of kprobe events.
func (w *traced) list() string { return filepath.Join(w.dir, "kprobe_events") }

func (w *traced) events() int { return len(w.open) }

// attach defines all addresses in one event and opens it. They are armed together
// then, not one by one: the kernel's optimizer of kprobes would begin meanwhile, and
// all others wait for it (31 s instead of 11 for 305 load instructions on 6.12).
func (w *traced) attach(ctx context.Context, stage []Target) (done []Target, refused []Refusal, err error) {
	e := w.event()
	for batch := range slices.Chunk(stage, linesAWrite) {
		if err := ctx.Err(); err != nil {
			return done, refused, err
		}
		there, goneBefore := inModules(batch)
		defined, r := w.define(e, there)
		// An address whose module is gone is taken too (seen on 6.12), as if the module
		// might yet come; only the kernel's log tells. So look again.
		there, goneMeanwhile := inModules(defined)
		done = append(done, there...)
		refused = slices.Concat(refused, goneBefore, r, goneMeanwhile)
		w.progress(len(done) + len(refused))
	}
	if e.perf != nil || len(done) == 0 {
		return done, refused, nil
	}
	id, err := w.id(e)
	if err != nil {
		return nil, refused, err
	}
	e.perf, err = OpenEvent(&unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: id}, w.prog)
	if err != nil {
		return nil, refused, err
	}
	w.open = append(w.open, e)
	return done, refused, nil
}

// event is where the next definitions go.
func (w *traced) event() *event {
	if len(w.open) == maxEvents {
		return w.open[maxEvents-1]
	}
	w.begun++
	return &event{name: fmt.Sprintf("%s_%d", w.name, w.begun), serials: make(map[Target]int)}
}

// define adds addresses to an event. The kernel takes a write line by line, stops at
// the first that it refuses, and does not tell which that was. So the batch is given
// again, line by line; those that were taken are known by EEXIST.
func (w *traced) define(e *event, batch []Target) (done []Target, refused []Refusal) {
	lines := make([]string, len(batch))
	for i, t := range batch {
		// Equal probes of one event are refused, and all addresses look equal there:
		// the argument, a number that is never read, makes them differ.
		lines[i] = fmt.Sprintf("p:%s/%s %#x%s\n", w.group, e.name, t.Addr, serialText(w.serial+i))
	}
	_, all := w.file.WriteString(strings.Join(lines, ""))
	for i, t := range batch {
		err := all
		if err != nil {
			_, err = w.file.WriteString(lines[i])
		}
		if err != nil && !errors.Is(err, unix.EEXIST) {
			refused = append(refused, Refusal{Target: t, Reason: unwrapPath(err)})
			continue
		}
		e.serials[t] = w.serial + i
		done = append(done, t)
	}
	w.serial += len(batch)
	return done, refused
}

// serialText is the end of a definition's line, as written and as listed.
func serialText(serial int) string { return fmt.Sprintf(` id=\%d:u32`, serial) }

// unwrapPath leaves out the name of the file, which is the same for all.
func unwrapPath(err error) error {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err
	}
	return err
}

// id is the number by which perf knows an event.
func (w *traced) id(e *event) (uint64, error) {
	path := filepath.Join(w.dir, "events", w.group.String(), e.name, "id")
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

// forget deletes the definitions of probes whose module is gone, so that they do not
// pile up where modules come and go. An event that has no other is closed first: the
// kernel keeps the last probe of one that is open.
func (w *traced) forget(ctx context.Context, module string) error {
	var errs []error
	gone := make(map[string]bool)
	w.open = slices.DeleteFunc(w.open, func(e *event) bool {
		for t, serial := range e.serials {
			if t.Module == module {
				gone["p:"+w.group.String()+"/"+e.name+serialText(serial)] = true
				delete(e.serials, t)
			}
		}
		if len(e.serials) > 0 {
			return false
		}
		errs = append(errs, e.perf.Close())
		return true
	})
	if len(gone) > 0 {
		_, err := deleteEvents(ctx, w.list(), func(line string) bool {
			// p:GROUP/EVENT 0xADDRESS id=\N:u32, the address not the real one.
			event, rest, _ := strings.Cut(line, " ")
			_, serial, _ := strings.Cut(rest, " ")
			return gone[event+" "+serial]
		})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (w *traced) takesToClose() time.Duration {
	return time.Duration(len(w.open)) * 100 * time.Millisecond
}

// close disarms, last opened first, and lets the reaper begin.
func (w *traced) close() error {
	var errs []error
	for _, e := range slices.Backward(w.open) {
		errs = append(errs, e.perf.Close())
	}
	errs = append(errs, w.file.Close(), w.reaper.done())
	if w.own {
		errs = append(errs, w.reaper.Close())
	}
	return errors.Join(errs...)
}
