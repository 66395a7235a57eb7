// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/netns-trace/netns-trace/pkg/crash"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/vmcore"
)

// Dump is a kernel that crashed, of which the memory was saved.
type Dump struct {
	*Kernel
	Release string // as uname -r prints it
	Clock   crash.Clock
	// ModulesMissing is true when the symbols or types of modules were not all saved:
	// what modules have is then recognised worse.
	ModulesMissing bool

	file *os.File
}

// OpenDump opens the saved memory of a kernel. symbols is a file with the symbols of the
// kernel image, or "" where the dump tells them. Returns errors wrapping those of
// [vmcore.Open] and [crash.Open]. The caller closes it.
func OpenDump(ctx context.Context, path, symbols string) (*Dump, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the crash dump: %w", err)
	}
	d, err := readDump(ctx, f, symbols)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return d, nil
}

func readDump(ctx context.Context, f *os.File, symbols string) (*Dump, error) {
	file, err := vmcore.Open(f)
	if err != nil {
		return nil, err
	}
	c, err := crash.Open(ctx, file, symbols)
	if err != nil {
		return nil, err
	}
	k, err := NewKernel(c.Memory, c.Types, c.Symbols)
	if err != nil {
		return nil, err
	}
	k.untyped = untypedModules(c.Symbols, c.Types)
	return &Dump{Kernel: k, Release: c.Release, Clock: c.Clock, ModulesMissing: c.ModulesMissing, file: f}, nil
}

// InitialNetns is the namespace that the machine started with.
func (d *Dump) InitialNetns() (record.NetnsID, bool) {
	net, ok := d.Address("init_net")
	if !ok || !d.isNet(net) {
		return record.NetnsID{}, false
	}
	return d.netnsOf(net), true
}

// Search is [Kernel.Search] of memory that does not change.
func (d *Dump) Search(ctx context.Context, devices, others []*Device, o Options, emit func(record.Record)) error {
	o.Still = true
	return d.Kernel.Search(ctx, devices, others, o, func(rec record.Record) {
		switch r := rec.(type) {
		case *record.HolderSearch:
			r.Dump = d.Release
		case *record.HeldObject:
			if d.Clock.Boottime == 0 {
				forgetStarts(r.Sockets)
			}
		}
		emit(rec)
	})
}

// forgetStarts takes away when processes started: it is counted from the machine's start,
// and when that was is not known.
func forgetStarts(sockets []record.Socket) {
	for i := range sockets {
		for j := range sockets[i].Owners {
			sockets[i].Owners[j].Thread.Start = 0
		}
	}
}

// Close closes the file.
func (d *Dump) Close() { d.file.Close() }
