// SPDX-License-Identifier: Apache-2.0

package vmcore

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
)

// The compressed format of makedumpfile. Source: its diskdump_mod.h and IMPLEMENTATION.
const (
	kdumpSignature = "KDUMP   "

	headerBytes    = 464
	subHeaderBytes = 104
	descriptorSize = 24

	maxBlocks = 1 << 31 // of what comes before the pages, so that no offset overflows
)

// How a page was saved, and the same as what all pages may be.
const (
	compressedZlib   = 1 << 0
	compressedLZO    = 1 << 1
	compressedSnappy = 1 << 2
	compressedZstd   = 1 << 5
)

type kdumpFile struct {
	file        io.ReaderAt
	saved       *bitmap // which pages are in the file
	descriptors uint64  // offset of the first

	unpack unpacker
	// table are descriptors that were read together, tableAt the number of the first.
	table   [PageSize / descriptorSize * descriptorSize]byte
	tableAt uint64
	tableIn int // bytes that there are in table

	packed [PageSize]byte
	page   [PageSize]byte // the last that was unpacked
	number uint64         // its number, plus 1; 0: there is none
}

func openKdump(r io.ReaderAt) (*Dump, error) {
	le := binary.LittleEndian
	var h [headerBytes]byte
	if err := readHeader(r, h[:], 0, "header"); err != nil {
		return nil, err
	}
	version, status := le.Uint32(h[8:]), le.Uint32(h[424:])
	blockSize, subBlocks, bitmapBlocks := le.Uint32(h[428:]), uint64(le.Uint32(h[432:])), uint64(le.Uint32(h[436:]))
	pages := uint64(le.Uint32(h[440:]))
	switch {
	case blockSize != PageSize:
		return nil, fmt.Errorf("%w: pages of %d bytes", ErrRefused, blockSize)
	case subBlocks == 0 || subBlocks+bitmapBlocks > maxBlocks:
		return nil, fmt.Errorf("%w: %d blocks of headers, %d of bitmaps", ErrDamaged, subBlocks, bitmapBlocks)
	case status&compressedLZO != 0:
		return nil, errLZO
	}
	var sub [subHeaderBytes]byte
	if err := readHeader(r, sub[:], PageSize, "header"); err != nil {
		return nil, err
	}
	// Later versions have more fields; those that a version has not are 0 in its files.
	if split := le.Uint32(sub[12:]); version >= 2 && split != 0 {
		return nil, fmt.Errorf("%w: one part of several (makedumpfile --split): makedumpfile --reassemble PARTS NEW joins them", ErrRefused)
	}
	if version >= 6 {
		pages = le.Uint64(sub[96:])
	}
	d := &Dump{machine: machineNamed(h[272:337])}
	if version >= 3 {
		if offset := le.Uint64(sub[32:]); offset != 0 {
			d.info = readInfo(r, offset, le.Uint64(sub[40:]))
		}
	}
	if d.info == nil && version >= 4 {
		d.info = findInfo(r, le.Uint64(sub[48:]), le.Uint64(sub[56:]))
	}
	f := &kdumpFile{file: r, descriptors: (1 + subBlocks + bitmapBlocks) * PageSize}
	if err := f.readBitmaps(d, (1+subBlocks)*PageSize, bitmapBlocks, pages); err != nil {
		return nil, err
	}
	d.pages = f
	return d, nil
}

// readBitmaps reads which pages the machine had, and which of them were saved: two
// bitmaps of the same length.
func (f *kdumpFile) readBitmaps(d *Dump, offset, blocks, pages uint64) error {
	each := blocks * PageSize
	first := offset
	if blocks%2 == 0 && pages <= each/2*8 {
		each /= 2
		offset += each
	}
	if pages > each*8 {
		return fmt.Errorf("%w: %d pages, and a bitmap of %d bytes", ErrDamaged, pages, each)
	}
	var err error
	if d.memory, err = bitmapRanges(f.file, first, pages); err != nil {
		return err
	}
	f.saved, err = newBitmap(f.file, offset, pages)
	return err
}

func machineNamed(name []byte) elf.Machine {
	name, _, _ = bytes.Cut(name, []byte{0})
	switch string(name) {
	case "x86_64":
		return elf.EM_X86_64
	case "aarch64":
		return elf.EM_AARCH64
	}
	return elf.EM_NONE
}

func (f *kdumpFile) read(b []byte, addr uint64) error {
	number := addr / PageSize
	if f.number != number+1 {
		f.number = 0
		if err := f.load(number); err != nil {
			return err
		}
		f.number = number + 1
	}
	copy(b, f.page[addr%PageSize:])
	return nil
}

// load unpacks a page.
func (f *kdumpFile) load(number uint64) error {
	before, ok, err := f.saved.rank(number)
	if err != nil {
		return err
	}
	if !ok {
		return ErrNotSaved
	}
	d, err := f.descriptor(before)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	offset, size, flags := le.Uint64(d), le.Uint32(d[8:]), le.Uint32(d[12:])
	if offset == 0 { // it was not written any more: the disk was full
		return ErrNotSaved
	}
	if size > PageSize {
		return fmt.Errorf("%w: a page of %d bytes", ErrDamaged, size)
	}
	packed := f.packed[:size]
	if err := readSaved(f.file, packed, offset); err != nil {
		return err
	}
	return f.unpack.page(&f.page, packed, flags)
}

// descriptor is that of the n-th page that was saved.
func (f *kdumpFile) descriptor(n uint64) ([]byte, error) {
	each := uint64(len(f.table) / descriptorSize)
	first := n / each * each
	if f.tableIn == 0 || f.tableAt != first {
		// The last ones may be followed by less than would fill the table.
		got, err := f.file.ReadAt(f.table[:], int64(f.descriptors+first*descriptorSize))
		if got == 0 && err != io.EOF {
			return nil, err
		}
		f.tableAt, f.tableIn = first, got
	}
	at := (n - first) * descriptorSize
	if at+descriptorSize > uint64(f.tableIn) {
		return nil, ErrNotSaved
	}
	return f.table[at:][:descriptorSize], nil
}
