// SPDX-License-Identifier: Apache-2.0

package vmcore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// Info is what the kernel notes of itself for those who read its memory after it has
// crashed: lines of "name=value" (VMCOREINFO). nil: the dump has none.
type Info map[string]string

const (
	infoNote = "VMCOREINFO"
	// maxInfo bounds the note: the kernel has a page for it.
	maxInfo = 1 << 16
	// maxNotes bounds the notes that are passed over: each processor has some.
	maxNotes = 1 << 16
)

// findInfo looks for the note among the ELF notes that are at an offset of the file; nil
// if it is not there.
func findInfo(r io.ReaderAt, offset, size uint64) Info {
	for range maxNotes {
		var h [12]byte
		if size < uint64(len(h)) || readSaved(r, h[:], offset) != nil {
			return nil
		}
		name, desc := uint64(binary.LittleEndian.Uint32(h[:])), uint64(binary.LittleEndian.Uint32(h[4:]))
		at := uint64(len(h)) + align4(name)
		length := at + align4(desc)
		if at+desc > size {
			return nil
		}
		var text [len(infoNote)]byte
		if name >= uint64(len(text)) && readSaved(r, text[:], offset+uint64(len(h))) == nil && string(text[:]) == infoNote {
			return readInfo(r, offset+at, desc)
		}
		if length > size {
			return nil
		}
		offset, size = offset+length, size-length
	}
	return nil
}

func align4(n uint64) uint64 { return (n + 3) &^ 3 }

func readInfo(r io.ReaderAt, offset, size uint64) Info {
	if size > maxInfo {
		return nil
	}
	raw := make([]byte, size)
	if readSaved(r, raw, offset) != nil {
		return nil
	}
	return ParseInfo(raw)
}

// ParseInfo reads lines of "name=value", up to a zero byte. Other lines are left out.
func ParseInfo(raw []byte) Info {
	if end := bytes.IndexByte(raw, 0); end >= 0 {
		raw = raw[:end]
	}
	info := make(Info)
	for line := range bytes.SplitSeq(raw, []byte{'\n'}) {
		if name, value, ok := bytes.Cut(line, []byte{'='}); ok {
			info[string(name)] = string(value)
		}
	}
	return info
}

// Symbol is the address of a symbol.
func (i Info) Symbol(name string) (uint64, bool) { return i.hex("SYMBOL(" + name + ")") }

// Number is a number that the kernel noted, such as the value of a variable.
func (i Info) Number(name string) (int64, bool) {
	v, err := strconv.ParseInt(i["NUMBER("+name+")"], 0, 64)
	return v, err == nil
}

// KernelOffset is how far from where it was linked to the kernel image lies, in bytes.
func (i Info) KernelOffset() (uint64, bool) { return i.hex("KERNELOFFSET") }

func (i Info) hex(name string) (uint64, bool) {
	v, err := strconv.ParseUint(i[name], 16, 64)
	return v, err == nil
}

// Release is the kernel's release, as uname -r prints it; "" if it is not known.
func (i Info) Release() string { return i["OSRELEASE"] }

// CrashTime is when the kernel crashed. A dump of QEMU has no such time: nothing crashed.
func (i Info) CrashTime() (time.Time, bool) {
	seconds, err := strconv.ParseInt(i["CRASHTIME"], 10, 64)
	return time.Unix(seconds, 0), err == nil
}

// SearchInfo looks through the memory for what the kernel noted, where the file does not
// say where that is: QEMU does not know, unless the guest told it. Returns an error
// wrapping [ErrNoInfo] when it is not there.
func (d *Dump) SearchInfo(ctx context.Context) error {
	for _, r := range d.memory {
		// The note has a page of its own.
		for at := align(r.Start); at < r.Start+r.Size; at += PageSize {
			if at/PageSize%(1<<14) == 0 && ctx.Err() != nil {
				return fmt.Errorf("searching the crash dump for VMCOREINFO: %w", ctx.Err())
			}
			var begin [len(infoBegin)]byte
			if d.Read(begin[:], at) != nil || string(begin[:]) != infoBegin {
				continue
			}
			var page [PageSize]byte
			if err := d.Read(page[:], at); err != nil {
				continue
			}
			info := ParseInfo(page[:])
			if _, ok := info.Number("phys_base"); ok {
				d.info = info
				return nil
			}
		}
	}
	return ErrNoInfo
}

// ErrNoInfo says that a kernel's own note for those who read the dump is not there.
var ErrNoInfo = errors.New("no VMCOREINFO in the crash dump")

// infoBegin is what the note begins with.
const infoBegin = "OSRELEASE="

func align(addr uint64) uint64 { return (addr + PageSize - 1) &^ (PageSize - 1) }
