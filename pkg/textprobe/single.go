// SPDX-License-Identifier: Apache-2.0

package textprobe

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/kernel"
)

// closers is how many events are closed at once. More do not help: they wait for two
// mutexes of the kernel's.
const closers = 8

// single is the way without tracefs: a perf event for each address.
type single struct {
	prog     *ebpf.Program
	progress func(int)
	pmu      uint32
	open     map[Target]*Event
}

func openSingle(prog *ebpf.Program, progress func(int)) (*single, error) {
	pmu, err := kernel.KprobePMU()
	if err != nil {
		return nil, err
	}
	return &single{prog: prog, progress: progress, pmu: pmu, open: make(map[Target]*Event)}, nil
}

func (w *single) String() string { return "perf events" }

func (w *single) events() int { return len(w.open) }

func (w *single) attach(ctx context.Context, stage []Target) (done []Target, refused []Refusal, err error) {
	for _, t := range stage {
		if err := ctx.Err(); err != nil {
			return done, refused, err
		}
		// config1 is no symbol, so that config2 is an address.
		e, err := OpenEvent(&unix.PerfEventAttr{Type: w.pmu, Ext1: 0, Ext2: t.Addr}, w.prog)
		w.progress(len(done) + len(refused) + 1)
		if err != nil {
			refused = append(refused, Refusal{Target: t, Reason: err})
			continue
		}
		w.open[t] = e
		done = append(done, t)
	}
	return done, refused, nil
}

func (w *single) forget(_ context.Context, module string) error {
	var gone []Target
	for t := range w.open {
		if t.Module == module {
			gone = append(gone, t)
		}
	}
	return w.closeAll(gone)
}

// takesToClose: 22 s for 480 events by eight workers, on 6.1 and 6.12.
func (w *single) takesToClose() time.Duration {
	return time.Duration(len(w.open)) * 45 * time.Millisecond
}

func (w *single) close() error {
	var all []Target
	for t := range w.open {
		all = append(all, t)
	}
	return w.closeAll(all)
}

// closeAll closes these events, several at a time: each waits for RCU.
func (w *single) closeAll(targets []Target) error {
	queue := make(chan *Event)
	errs := make([]error, closers)
	var workers sync.WaitGroup
	for i := range closers {
		workers.Go(func() {
			for e := range queue {
				errs[i] = errors.Join(errs[i], e.Close())
			}
		})
	}
	for _, t := range targets {
		if e := w.open[t]; e != nil {
			queue <- e
			delete(w.open, t)
		}
	}
	close(queue)
	workers.Wait()
	return errors.Join(errs...)
}
