// SPDX-License-Identifier: Apache-2.0

// Package crash finds, in the saved memory of a kernel that crashed, what a running one
// tells of itself: where its memory is mapped, its symbols, and its types. x86-64 only.
package crash

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/netns-trace/netns-trace/pkg/holders/memory"
	"github.com/netns-trace/netns-trace/pkg/holders/structs"
	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/vmcore"
)

var (
	// ErrNoSymbols says that the dump does not tell the kernel's symbols: none before 6.0
	// does.
	ErrNoSymbols = errors.New("the crash dump does not tell the kernel's symbols")
	// ErrNotUnderstood says that the memory is not that of a kernel as this package
	// knows it.
	ErrNotUnderstood = errors.New("the crash dump is not understood")
	// ErrOtherKernel says that symbols were given that are not this kernel's.
	ErrOtherKernel = errors.New("the symbols are of another kernel than the crash dump")
)

// Kernel is a kernel that crashed.
type Kernel struct {
	Memory  memory.Reader
	Symbols *kernel.Symbols
	Types   *structs.Set
	Release string // as uname -r prints it
	Clock   Clock
	// ModulesMissing is true when the symbols or types of modules were not all saved.
	ModulesMissing bool
}

// Open finds out what is needed to look through a kernel's memory. symbols is a file with
// the image's symbols, System.map or a vmlinux; "": the dump has to tell them itself.
// Returns errors wrapping [ErrNoSymbols], [ErrNotUnderstood], [ErrOtherKernel] and
// [vmcore.ErrNoInfo].
func Open(ctx context.Context, dump *vmcore.Dump, symbols string) (*Kernel, error) {
	// QEMU 10 says "Unknown" in the compressed format; what newSpace asks of VMCOREINFO
	// only x86-64 has.
	if machine := dump.Machine(); machine != elf.EM_X86_64 && machine != elf.EM_NONE {
		return nil, fmt.Errorf("%w: it is of a machine of type %s, not of x86-64", ErrNotUnderstood, machine)
	}
	if len(dump.Info()) == 0 {
		if err := dump.SearchInfo(ctx); err != nil {
			return nil, err
		}
	}
	k := &Kernel{Release: dump.Info().Release()}
	memory, err := newSpace(dump)
	if err != nil {
		return nil, err
	}
	k.Memory = memory
	o := opener{Kernel: k, space: memory, info: dump.Info()}
	for _, step := range []func() error{
		func() error { return o.findSymbols(symbols) }, o.checkRelease, func() error { return o.findMemory(ctx) }, o.findTypes, o.findModules, o.findClock,
	} {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("reading a crash dump: %w", ctx.Err())
		}
		if err := step(); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// opener fills in a Kernel.
type opener struct {
	*Kernel
	space *space
	info  vmcore.Info
}

func (o *opener) findSymbols(given string) error {
	var err error
	if given != "" {
		o.Symbols, err = givenSymbols(given, o.info)
		return err
	}
	table, err := findImageTable(o.space.Read, o.info)
	if err != nil {
		return err
	}
	o.Symbols, err = table.symbols()
	return err
}

// address is where a variable of the image is.
func (o *opener) address(name string) (uint64, bool) {
	// 7.3 lists data of its image as text.
	for _, list := range [][]kernel.Symbol{o.Symbols.LookupData(name), o.Symbols.Lookup(name)} {
		for _, s := range list {
			if s.Module == "" {
				return s.Addr, true
			}
		}
	}
	return 0, false
}

// checkRelease compares what the kernel calls itself with where the symbols have that.
func (o *opener) checkRelease() error {
	const longest = 256
	if at, ok := o.address("linux_banner"); ok {
		text, err := readText(o.space.Read, at, longest)
		if err == nil && strings.HasPrefix(text, "Linux version "+o.Release+" ") {
			return nil
		}
	}
	return fmt.Errorf("%w, which is of %s", ErrOtherKernel, o.Release)
}

func (o *opener) findMemory(ctx context.Context) error {
	base, okBase := o.address("page_offset_base")
	begin, okBegin := o.address("_text")
	end, okEnd := o.address("_end")
	if !okBase || !okBegin || !okEnd || end <= begin || begin < imageBase {
		return fmt.Errorf("%w: no symbol page_offset_base, _text or _end", ErrNotUnderstood)
	}
	at, err := uint64At(o.space.Read, base)
	if err != nil {
		return err
	}
	return o.space.setSegments(ctx, at, vmcore.Range{Start: begin, Size: end - begin})
}

// Clock is what time it was.
type Clock struct {
	// When is when the kernel crashed, or was dumped; zero: it is not known.
	When time.Time
	// Boottime is how long it ran then, with the time that it slept; zero: it is not
	// known.
	Boottime time.Duration
}

// findClock reads the kernel's clock, and when it noted that it crashed. That it cannot be
// read is no error.
func (o *opener) findClock() error {
	if at, ok := o.timekeeper(); ok {
		read := func(path string) int64 {
			v, _ := o.field(at, "timekeeper", path)
			return int64(v)
		}
		now := time.Unix(read("xtime_sec"), read("tkr_mono.xtime_nsec")>>(read("tkr_mono.shift")&63))
		// What is to be added for CLOCK_MONOTONIC, and to that for CLOCK_BOOTTIME.
		boot := now.Add(time.Duration(read("wall_to_monotonic.tv_sec"))*time.Second +
			time.Duration(read("wall_to_monotonic.tv_nsec")) + time.Duration(read("offs_boot")))
		const longest = 100 * 365 * 24 * time.Hour
		if up := boot.Sub(time.Unix(0, 0)); now.Unix() > 0 && up > 0 && up < longest {
			o.Clock = Clock{When: now, Boottime: up}
		}
	}
	crashed, ok := o.info.CrashTime()
	switch {
	case !ok:
	case o.Clock.When.IsZero():
		o.Clock.When = crashed
	default:
		o.Clock.Boottime += crashed.Sub(o.Clock.When)
		o.Clock.When = crashed
	}
	return nil
}

// timekeeper is where the struct timekeeper of the calendar's clock is.
func (o *opener) timekeeper() (uint64, bool) {
	if at, ok := o.address("shadow_timekeeper"); ok { // 5.10 to 6.12
		return at, true
	}
	at, ok := o.address("timekeeper_data") // an array, in 7.3
	if !ok {
		at, ok = o.address("tk_core")
	}
	f, err := o.Types.Field("tk_data", "timekeeper")
	return at + uint64(f.Offset), ok && err == nil
}

// field reads a number or a pointer in a struct.
func (o *opener) field(at uint64, structName, path string) (uint64, error) {
	f, err := o.Types.Field(structName, path)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNotUnderstood, err)
	}
	if f.Size == 4 {
		v, err := uint32At(o.space.Read, at+uint64(f.Offset))
		return uint64(v), err
	}
	return uint64At(o.space.Read, at+uint64(f.Offset))
}
