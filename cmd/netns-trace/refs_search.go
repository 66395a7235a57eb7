// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/netns-trace/netns-trace/pkg/holders"
	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/trace"
)

// searches reports whether holders are wanted by a search of memory.
func (o *liveOptions) searches() bool {
	return o.bySearch() && slices.Contains(o.only, probe.DetectorRefs)
}

// searches reports whether they are searched for.
func (t *tracing) searches() bool {
	return t.options.searches() && slices.Contains(t.session.Detectors(), probe.DetectorRefs)
}

// checkMemory says why the kernel's memory cannot be searched: better at the start than
// when a device waits.
func checkMemory(symbols kernel.SymbolAccess) error {
	core, err := kernel.OpenCore()
	if err != nil {
		return unreadable(err)
	}
	defer core.Close()
	switch machine := core.Machine(); {
	case machine != elf.EM_X86_64:
		return fmt.Errorf("%w, not %s", holders.ErrArchitecture, machine)
	case symbols == kernel.SymbolsHidden:
		return errors.New("the kernel hides its symbols' addresses (CAP_SYSLOG, sysctl kernel.kptr_restrict)")
	}
	return nil
}

// checkTracker says that the kernel has no tracker of references of its own.
func checkTracker(types *kernel.Types) error {
	if has, err := types.HasField("ref_tracker_dir", "list"); err != nil || !has {
		return fmt.Errorf("this kernel does not track references itself (CONFIG_NET_DEV_REFCNT_TRACKER); --refs %s needs no tracker", refsSearch)
	}
	return nil
}

// canSearch reports whether memory can be searched.
func canSearch() bool {
	symbols, err := kernel.ReadSymbolAccess()
	return err == nil && checkMemory(symbols) == nil
}

// searchMemory searches the running kernel's memory, on one processor, at a rate in
// megabytes a second.
func searchMemory(mbps uint64) trace.MemorySearch {
	return func(ctx context.Context, devices []uint64, emit func(record.Record)) error {
		// What was read to understand the memory is as much as all that tracing keeps.
		defer debug.FreeOSMemory()
		running, err := openMemory()
		if err != nil {
			return err
		}
		defer running.Close()
		waiting := running.WaitingAt(devices)
		if len(waiting) == 0 || ctx.Err() != nil {
			return ctx.Err()
		}
		others, err := running.Devices()
		if err != nil {
			return fmt.Errorf("listing network devices: %w", err)
		}
		return running.Search(ctx, waiting, others, holders.Options{
			BytesPerSecond: mbps * 1e6, Now: probe.Now, Settle: time.Second, Attempts: 3,
		}, emit)
	}
}
