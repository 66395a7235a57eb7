// SPDX-License-Identifier: Apache-2.0

package vmcore

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

const (
	programHeaderSize = 56
	// maxProgramHeaders bounds the pieces of memory. A file of makedumpfile -E has one
	// for every stretch of memory that was not left out.
	maxProgramHeaders = 1 << 20
	// manyHeaders in the place of their number says that the first section header has it.
	manyHeaders = 0xffff
)

// piece is memory that lies together in the file.
type piece struct {
	Range
	offset uint64
}

type elfFile struct {
	file   io.ReaderAt
	pieces []piece // by address, none in two
}

func openELF(r io.ReaderAt, begin []byte) (*Dump, error) {
	le := binary.LittleEndian
	if elf.Class(begin[elf.EI_CLASS]) != elf.ELFCLASS64 || elf.Data(begin[elf.EI_DATA]) != elf.ELFDATA2LSB {
		return nil, fmt.Errorf("%w: it is not of a little-endian machine of 64 bits", ErrRefused)
	}
	if elf.Type(le.Uint16(begin[16:])) != elf.ET_CORE {
		return nil, fmt.Errorf("%w: it is an ELF file, but no core file", ErrNotDump)
	}
	at, size, n := le.Uint64(begin[32:]), le.Uint16(begin[54:]), uint32(le.Uint16(begin[56:]))
	if n == manyHeaders {
		var section [64]byte
		if err := readHeader(r, section[:], le.Uint64(begin[40:]), "section headers"); err != nil {
			return nil, err
		}
		n = le.Uint32(section[44:])
	}
	if size != programHeaderSize || n > maxProgramHeaders || at >= 1<<62 {
		return nil, fmt.Errorf("%w: %d program headers of %d bytes", ErrDamaged, n, size)
	}
	d := &Dump{machine: elf.Machine(le.Uint16(begin[18:]))}
	var pieces []piece
	var h [programHeaderSize]byte
	headers := io.NewSectionReader(r, int64(at), int64(n)*programHeaderSize)
	in := newChunks(headers)
	for range n {
		if err := in.next(h[:], "program headers"); err != nil {
			return nil, err
		}
		p := piece{Range{le.Uint64(h[24:]), le.Uint64(h[32:])}, le.Uint64(h[8:])}
		inMemory := le.Uint64(h[40:])
		switch elf.ProgType(le.Uint32(h[:])) {
		case elf.PT_NOTE:
			if d.info == nil {
				d.info = findInfo(r, p.offset, p.Size)
			}
		case elf.PT_LOAD:
			if size := max(p.Size, inMemory); p.Start > PhysicalEnd || size > PhysicalEnd-p.Start || p.offset >= 1<<62 {
				return nil, fmt.Errorf("%w: %d bytes of memory at %#x", ErrDamaged, size, p.Start)
			}
			pieces = append(pieces, p)
			d.memory = append(d.memory, Range{p.Start, max(p.Size, inMemory)})
		}
	}
	d.memory = joined(d.memory)
	d.pages = &elfFile{file: r, pieces: disjoint(pieces)}
	return d, nil
}

// disjoint sorts pieces by address and takes off what an earlier one has: kdump has the
// kernel image twice.
func disjoint(pieces []piece) []piece {
	slices.SortFunc(pieces, func(a, b piece) int { return cmp.Compare(a.Start, b.Start) })
	var list []piece
	end := uint64(0)
	for _, p := range pieces {
		if had := end - p.Start; p.Start < end {
			if had >= p.Size {
				continue
			}
			p.Start, p.Size, p.offset = end, p.Size-had, p.offset+had
		}
		if p.Size > 0 {
			list = append(list, p)
			end = p.Start + p.Size
		}
	}
	return list
}

// joined sorts ranges and makes one of those that touch.
func joined(ranges []Range) []Range {
	slices.SortFunc(ranges, func(a, b Range) int { return cmp.Compare(a.Start, b.Start) })
	var list []Range
	for _, r := range ranges {
		last := len(list) - 1
		switch {
		case r.Size == 0:
		case last >= 0 && r.Start <= list[last].Start+list[last].Size:
			list[last].Size = max(list[last].Size, r.Start+r.Size-list[last].Start)
		default:
			list = append(list, r)
		}
	}
	return list
}

func (f *elfFile) read(b []byte, addr uint64) error {
	for len(b) > 0 { // a page may be in two pieces
		i, exact := slices.BinarySearchFunc(f.pieces, addr, func(p piece, addr uint64) int { return cmp.Compare(p.Start, addr) })
		if !exact {
			i--
		}
		if i < 0 || addr-f.pieces[i].Start >= f.pieces[i].Size {
			return ErrNotSaved
		}
		p := &f.pieces[i]
		within := addr - p.Start
		n := min(uint64(len(b)), p.Size-within)
		if err := readSaved(f.file, b[:n], p.offset+within); err != nil {
			return err
		}
		b, addr = b[n:], addr+n
	}
	return nil
}
