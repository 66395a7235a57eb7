// SPDX-License-Identifier: Apache-2.0

// Package vmcore reads the physical memory that was saved of a machine: the ELF files
// that kdump and QEMU write, and the compressed format of makedumpfile, which QEMU
// writes too. What it means is not known here.
//
// A file is not trusted: no length in it decides how much is allocated.
package vmcore

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
)

// PageSize is the size of the pages that a dump is made of, in bytes.
const PageSize = 4096

var (
	// ErrNotDump says that a file is no dump of a machine's memory.
	ErrNotDump = errors.New("not a crash dump: neither an ELF file of kdump or QEMU nor the compressed format of makedumpfile")
	// ErrRefused says that a dump is of a form that is not read. The error that wraps it
	// says what makes another form of it, where something does.
	ErrRefused = errors.New("a crash dump of a form that is not read")
	// ErrDamaged says that a dump contradicts itself.
	ErrDamaged = errors.New("the crash dump is damaged")
	// ErrNotSaved says that memory is not in the dump: it was left out, or the file ends
	// before it.
	ErrNotSaved = errors.New("not in the crash dump")
)

// PhysicalEnd is beyond the last physical address of any machine: processors have 52 bits.
const PhysicalEnd = 1 << 52

// Range is physical memory that lies together, in bytes.
type Range struct{ Start, Size uint64 }

// Dump is a machine's saved memory. It is not safe for concurrent use.
type Dump struct {
	pages   source
	memory  []Range
	info    Info
	machine elf.Machine
}

// source is where pages of a dump come from.
type source interface {
	// read fills b, which does not go beyond a page's end, with what is at a physical
	// address.
	read(b []byte, addr uint64) error
}

// Open reads the headers of a dump, and its memory when it is asked for. Returns errors
// wrapping [ErrNotDump], [ErrRefused] and [ErrDamaged].
func Open(r io.ReaderAt) (*Dump, error) {
	d, err := open(r)
	if errors.Is(err, errFlattened) {
		f, err := openFlattened(r)
		if err != nil {
			return nil, err
		}
		if d, err = open(f); errors.Is(err, errFlattened) {
			return nil, fmt.Errorf("%w: flattened twice", ErrDamaged)
		}
		return d, err
	}
	return d, err
}

var errFlattened = errors.New("flattened")

func open(r io.ReaderAt) (*Dump, error) {
	var begin [64]byte
	n, err := r.ReadAt(begin[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading a crash dump: %w", err)
	}
	switch {
	case n < len(begin):
		return nil, ErrNotDump
	case bytes.HasPrefix(begin[:], []byte(elf.ELFMAG)):
		return openELF(r, begin[:])
	case bytes.HasPrefix(begin[:], []byte(kdumpSignature)):
		return openKdump(r)
	case bytes.HasPrefix(begin[:], []byte(flattenedSignature)):
		return nil, errFlattened
	}
	return nil, ErrNotDump
}

// Machine is the processor that the memory is of; elf.EM_NONE if it is not known.
func (d *Dump) Machine() elf.Machine { return d.machine }

// Memory is what the machine had, by address; not all of it need have been saved. The
// slice is shared: do not change it.
func (d *Dump) Memory() []Range { return d.memory }

// Info is what the kernel noted for those who read the dump (VMCOREINFO).
func (d *Dump) Info() Info { return d.info }

// Read fills b with what is at a physical address. Returns an error wrapping
// [ErrNotSaved] when not all of it is in the dump.
func (d *Dump) Read(b []byte, addr uint64) error {
	for len(b) > 0 {
		n := min(uint64(len(b)), PageSize-addr%PageSize)
		if err := d.pages.read(b[:n], addr); err != nil {
			return fmt.Errorf("reading physical memory at %#x: %w", addr, err)
		}
		b, addr = b[n:], addr+n
	}
	return nil
}

// readSaved reads from the file; what is beyond its end was not saved.
func readSaved(r io.ReaderAt, b []byte, offset uint64) error {
	if offset >= 1<<62 {
		return ErrNotSaved
	}
	n, err := r.ReadAt(b, int64(offset))
	switch {
	case n == len(b):
		return nil
	case errors.Is(err, io.EOF):
		return ErrNotSaved
	}
	return err
}

// readHeader is readSaved of what a dump cannot be without.
func readHeader(r io.ReaderAt, b []byte, offset uint64, what string) error {
	err := readSaved(r, b, offset)
	if errors.Is(err, ErrNotSaved) {
		err = fmt.Errorf("%w: it ends before its %s", ErrDamaged, what)
	}
	return err
}
