// SPDX-License-Identifier: Apache-2.0

package userstack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
)

// The Go function table (pclntab) is read in place, a few dozen small reads an
// address. debug/gosym wants the whole table in memory (30 MB for a container
// daemon), makes objects of every function in it, and relies on panics for
// malformed tables.

// goTable is the header of a Go function table. All offsets are from its start.
type goTable struct {
	offset uint64 // of the table in the file
	size   uint64
	// wide is the format of Go 1.16 and 1.17: addresses of pointer size.
	// Since 1.18 they are 32-bit offsets from textStart.
	wide      bool
	ptrSize   uint64
	quantum   uint64 // bytes an instruction address is a multiple of
	count     uint64 // functions
	textStart uint64
	names     uint64 // function names
	units     uint64 // per compilation unit: file number to files offset
	files     uint64 // file names
	deltas    uint64 // pc-value tables
	funcs     uint64 // function index, then function records
}

// The magic numbers of runtime/symtab.go by the Go release that began them.
const (
	magicGo116 = 0xfffffffa
	magicGo118 = 0xfffffff0
	magicGo120 = 0xfffffff1
)

var errNoGoTable = errors.New("no Go function table")

// readGoTable finds and checks the table's header.
func readGoTable(r io.ReaderAt, f *elfFile) (*goTable, error) {
	// Position-independent programs before Go 1.26 have it among the data
	// to be relocated.
	if s := f.section(".gopclntab", ".data.rel.ro.gopclntab"); s != nil {
		return parseGoTable(r, f, *s)
	}
	// The C linker, which links a program that uses cgo, puts that into one
	// section with the rest of such data: Debian's container daemons are
	// linked so.
	if f.section(".go.buildinfo", ".note.go.buildid") == nil {
		return nil, errNoGoTable
	}
	if s := f.section(".data.rel.ro"); s != nil {
		return scanForGoTable(r, f, *s)
	}
	return nil, errNoGoTable
}

// maxScan bounds the search: the largest Go programs have some 100 MiB of
// relocated data.
const maxScan = 512 << 20

// scanForGoTable looks for a header at every aligned place of a section.
func scanForGoTable(r io.ReaderAt, f *elfFile, s section) (*goTable, error) {
	const align, block = 32, 64 << 10 // the Go linker aligns the table to 32
	buf := make([]byte, block)
	for off := -s.addr % align; off < min(s.size, maxScan); off += block {
		n, _ := r.ReadAt(buf[:min(block, s.size-off)], int64(s.offset+off))
		for i := 0; i+8 <= n; i += align {
			if !isGoHeader(buf[i:]) {
				continue
			}
			at := off + uint64(i)
			rest := section{addr: s.addr + at, offset: s.offset + at, size: s.size - at}
			if t, err := parseGoTable(r, f, rest); err == nil {
				return t, nil
			}
		}
		if n < block {
			break
		}
	}
	return nil, errNoGoTable
}

// isGoHeader checks the first 8 bytes: magic, two zero bytes, instruction
// quantum, pointer size.
func isGoHeader(b []byte) bool {
	magic := binary.LittleEndian.Uint32(b)
	return (magic == magicGo116 || magic == magicGo118 || magic == magicGo120) &&
		b[4] == 0 && b[5] == 0 &&
		(b[6] == 1 || b[6] == 2 || b[6] == 4) &&
		(b[7] == 4 || b[7] == 8)
}

// parseGoTable reads the header of a table that starts where s does and ends
// at the latest where s does.
func parseGoTable(r io.ReaderAt, f *elfFile, s section) (*goTable, error) {
	var h [8 + 8*8]byte
	if n, err := r.ReadAt(h[:], int64(s.offset)); n < len(h) || s.size < uint64(len(h)) {
		return nil, errors.Join(errNoGoTable, err)
	}
	if !isGoHeader(h[:]) {
		return nil, fmt.Errorf("%w of a known release: header % x", errNoGoTable, h[:8])
	}
	t := &goTable{offset: s.offset, size: s.size, quantum: uint64(h[6]), ptrSize: uint64(h[7])}
	t.wide = binary.LittleEndian.Uint32(h[:]) == magicGo116
	words := 8
	if t.wide {
		words = 7 // no text start
	}
	word := func(i int) uint64 { return wordAt(h[8+uint64(i)*t.ptrSize:], t.ptrSize) }
	t.count = word(0)
	t.names, t.units, t.files = word(words-5), word(words-4), word(words-3)
	t.deltas, t.funcs = word(words-2), word(words-1)
	for _, off := range []uint64{t.names, t.units, t.files, t.deltas, t.funcs} {
		if off > t.size {
			return nil, fmt.Errorf("%w: an offset is past its end", errNoGoTable)
		}
	}
	// The index is count pairs and one more number.
	if numbers := (t.size - t.funcs) / t.fieldSize(); t.count == 0 || numbers == 0 || t.count > (numbers-1)/2 {
		return nil, fmt.Errorf("%w: %d functions do not fit", errNoGoTable, t.count)
	}
	if !t.wide {
		var err error
		if t.textStart, err = findTextStart(r, f, s.addr, word(2), t.ptrSize); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func wordAt(b []byte, size uint64) uint64 {
	if size == 4 {
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return binary.LittleEndian.Uint64(b)
}

// fieldSize is the size of a number in the function index.
func (t *goTable) fieldSize() uint64 {
	if t.wide {
		return t.ptrSize
	}
	return 4
}

// goFunc is what the table says of one address.
type goFunc struct {
	name  string
	entry uint64
	file  string
	line  int
}

// lookup returns the function that contains pc, an address as linked.
func (t *goTable) lookup(r io.ReaderAt, pc uint64) (goFunc, error) {
	if !t.wide {
		if pc < t.textStart {
			return goFunc{}, errNoGoTable
		}
		pc -= t.textStart
	}
	var readErr error
	field := func(i uint64) uint64 {
		v, err := t.number(r, t.funcs+i*t.fieldSize(), t.fieldSize())
		if err != nil && readErr == nil {
			readErr = err
		}
		return v
	}
	// The index is pairs of entry and record offset, and a last end.
	i := sort.Search(int(t.count), func(i int) bool { return field(2*uint64(i)) > pc })
	if i == 0 || pc >= field(2*t.count) || readErr != nil {
		return goFunc{}, errors.Join(errNoGoTable, readErr)
	}
	entry := field(2 * uint64(i-1))
	record := field(2*uint64(i-1) + 1)
	if readErr != nil {
		return goFunc{}, readErr
	}
	return t.describe(r, record, entry, pc)
}

// number reads a little-endian number of 4 or 8 bytes within the table.
func (t *goTable) number(r io.ReaderAt, off, size uint64) (uint64, error) {
	if off > t.size || size > t.size-off {
		return 0, io.ErrUnexpectedEOF
	}
	var b [8]byte
	if _, err := r.ReadAt(b[:size], int64(t.offset+off)); err != nil {
		return 0, err
	}
	return wordAt(b[:], size), nil
}

// text reads a zero-terminated string within the table.
func (t *goTable) text(r io.ReaderAt, off uint64) (string, error) {
	if off >= t.size {
		return "", io.ErrUnexpectedEOF
	}
	return readName(r, t.offset+off, t.size-off)
}
