// SPDX-License-Identifier: Apache-2.0

package userstack

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// debug/elf says of itself that it is not hardened against hostile files and
// may use much memory or panic. The files here are chosen by the traced
// processes, so the few headers needed are read by hand, every length checked
// against a bound before it is used. Only its constants are taken.

// Bounds on what is believed of a file.
const (
	maxSegments     = 256
	maxSections     = 4096
	maxSectionNames = 1 << 20
	maxName         = 4096 // Go names of generic functions are long
)

var errNotELF = errors.New("not a little-endian ELF file")

// segment is a PT_LOAD program header.
type segment struct {
	offset, vaddr, fileSize uint64
	executable              bool
}

// section is a section header.
type section struct {
	name         string
	kind         elf.SectionType
	flags        elf.SectionFlag
	addr         uint64
	offset, size uint64
	link         uint32
	entrySize    uint64
}

// elfFile is the layout of an ELF file: its loaded segments and its sections.
type elfFile struct {
	is64     bool
	machine  elf.Machine
	segments []segment
	sections []section
}

// readELF reads the headers. size is the file's size in bytes.
func readELF(r io.ReaderAt, size int64) (*elfFile, error) {
	var h [64]byte
	if n, err := r.ReadAt(h[:], 0); n < 52 {
		return nil, errors.Join(errNotELF, err)
	}
	if string(h[:4]) != elf.ELFMAG || elf.Data(h[elf.EI_DATA]) != elf.ELFDATA2LSB {
		return nil, errNotELF
	}
	f := &elfFile{is64: elf.Class(h[elf.EI_CLASS]) == elf.ELFCLASS64}
	if !f.is64 && elf.Class(h[elf.EI_CLASS]) != elf.ELFCLASS32 {
		return nil, errNotELF
	}
	le := binary.LittleEndian
	f.machine = elf.Machine(le.Uint16(h[18:]))
	var phoff, shoff uint64
	counts := h[42:] // e_phentsize … e_shstrndx of ELF32
	if f.is64 {
		phoff, shoff, counts = le.Uint64(h[32:]), le.Uint64(h[40:]), h[54:]
	} else {
		phoff, shoff = uint64(le.Uint32(h[28:])), uint64(le.Uint32(h[32:]))
	}
	phentsize, phnum := le.Uint16(counts), le.Uint16(counts[2:])
	shentsize, shnum, shstrndx := le.Uint16(counts[4:]), le.Uint16(counts[6:]), le.Uint16(counts[8:])
	if err := f.readSegments(r, phoff, phentsize, phnum); err != nil {
		return nil, err
	}
	if err := f.readSections(r, size, shoff, shentsize, shnum, shstrndx); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *elfFile) readSegments(r io.ReaderAt, off uint64, entsize, n uint16) error {
	want := uint16(32)
	if f.is64 {
		want = 56
	}
	if n == 0 || n > maxSegments || entsize != want {
		return fmt.Errorf("%d program headers of %d bytes", n, entsize)
	}
	table, err := readRange(r, off, uint64(n)*uint64(want))
	if err != nil {
		return fmt.Errorf("reading program headers: %w", err)
	}
	le := binary.LittleEndian
	for p := table; len(p) >= int(want); p = p[want:] {
		if elf.ProgType(le.Uint32(p)) != elf.PT_LOAD {
			continue
		}
		var s segment
		if f.is64 {
			s = segment{le.Uint64(p[8:]), le.Uint64(p[16:]), le.Uint64(p[32:]), elf.ProgFlag(le.Uint32(p[4:]))&elf.PF_X != 0}
		} else {
			s = segment{uint64(le.Uint32(p[4:])), uint64(le.Uint32(p[8:])), uint64(le.Uint32(p[16:])), elf.ProgFlag(le.Uint32(p[24:]))&elf.PF_X != 0}
		}
		f.segments = append(f.segments, s)
	}
	return nil
}

// readSections reads the section headers; a file without any is valid.
func (f *elfFile) readSections(r io.ReaderAt, size int64, off uint64, entsize, n, namesAt uint16) error {
	want := uint16(40)
	if f.is64 {
		want = 64
	}
	if n == 0 {
		return nil
	}
	if n > maxSections || entsize != want {
		return fmt.Errorf("%d section headers of %d bytes", n, entsize)
	}
	table, err := readRange(r, off, uint64(n)*uint64(want))
	if err != nil {
		return fmt.Errorf("reading section headers: %w", err)
	}
	le := binary.LittleEndian
	nameOffsets := make([]uint32, 0, n)
	for p := table; len(p) >= int(want); p = p[want:] {
		s := section{kind: elf.SectionType(le.Uint32(p[4:]))}
		if f.is64 {
			s.flags = elf.SectionFlag(le.Uint64(p[8:]))
			s.addr, s.offset, s.size = le.Uint64(p[16:]), le.Uint64(p[24:]), le.Uint64(p[32:])
			s.link, s.entrySize = le.Uint32(p[40:]), le.Uint64(p[56:])
		} else {
			s.flags = elf.SectionFlag(le.Uint32(p[8:]))
			s.addr, s.offset, s.size = uint64(le.Uint32(p[12:])), uint64(le.Uint32(p[16:])), uint64(le.Uint32(p[20:]))
			s.link, s.entrySize = le.Uint32(p[24:]), uint64(le.Uint32(p[36:]))
		}
		if s.kind != elf.SHT_NOBITS && (s.offset > uint64(size) || s.size > uint64(size)-s.offset) {
			s.kind = elf.SHT_NULL // reaches past the file: not to be used
		}
		f.sections = append(f.sections, s)
		nameOffsets = append(nameOffsets, le.Uint32(p))
	}
	return f.nameSections(r, nameOffsets, int(namesAt))
}

func (f *elfFile) nameSections(r io.ReaderAt, offsets []uint32, namesAt int) error {
	if namesAt >= len(f.sections) || f.sections[namesAt].kind != elf.SHT_STRTAB {
		return nil
	}
	names, err := readRange(r, f.sections[namesAt].offset, min(f.sections[namesAt].size, maxSectionNames))
	if err != nil {
		return fmt.Errorf("reading section names: %w", err)
	}
	for i, off := range offsets {
		f.sections[i].name = stringAt(names, uint64(off))
	}
	return nil
}

// section returns the first section of one of the names that has content and is
// not compressed, or nil.
func (f *elfFile) section(names ...string) *section {
	for _, name := range names {
		for i := range f.sections {
			s := &f.sections[i]
			if s.name == name && s.kind != elf.SHT_NULL && s.kind != elf.SHT_NOBITS && s.flags&elf.SHF_COMPRESSED == 0 {
				return s
			}
		}
	}
	return nil
}

// vaddr returns the address that the file was linked to have at a file offset,
// preferring executable segments: neighbours may share a page.
func (f *elfFile) vaddr(offset uint64) (uint64, bool) {
	for _, wantExec := range []bool{true, false} {
		for _, s := range f.segments {
			if s.executable == wantExec && offset >= s.offset && offset-s.offset < s.fileSize {
				return offset - s.offset + s.vaddr, true
			}
		}
	}
	return 0, false
}

// readRange reads n bytes; n must be bounded by the caller.
func readRange(r io.ReaderAt, off, n uint64) ([]byte, error) {
	if off > 1<<62 {
		return nil, io.ErrUnexpectedEOF
	}
	b := make([]byte, n)
	if got, err := r.ReadAt(b, int64(off)); uint64(got) < n {
		return nil, fmt.Errorf("%d of %d bytes at %#x: %w", got, n, off, err)
	}
	return b, nil
}

// stringAt returns the zero-terminated string at off, or "".
func stringAt(b []byte, off uint64) string {
	if off >= uint64(len(b)) {
		return ""
	}
	for i, c := range b[off:] {
		if c == 0 {
			return string(b[off : off+uint64(i)])
		}
	}
	return ""
}
