// SPDX-License-Identifier: Apache-2.0

package userstack

import (
	"encoding/binary"
	"errors"
	"io"
)

// maxDeltas bounds the bytes read of one pc-value table. The largest function
// of the standard library has some thousands.
const maxDeltas = 256 << 10

// describe reads a function record. entry and pc are both addresses, or both
// offsets from textStart, as the format has them.
func (t *goTable) describe(r io.ReaderAt, record, entry, pc uint64) (goFunc, error) {
	// entry, then 32-bit fields: name, args, deferreturn, pcsp, pcfile,
	// pcln, npcdata, compilation unit.
	var b [8 * 4]byte
	off := t.funcs + record + t.fieldSize()
	if off < record || off > t.size || uint64(len(b)) > t.size-off {
		return goFunc{}, io.ErrUnexpectedEOF
	}
	if _, err := r.ReadAt(b[:], int64(t.offset+off)); err != nil {
		return goFunc{}, err
	}
	field := func(i int) uint64 { return uint64(binary.LittleEndian.Uint32(b[4*i:])) }
	fn := goFunc{entry: entry}
	if !t.wide {
		fn.entry += t.textStart
	}
	var err error
	if fn.name, err = t.text(r, t.names+field(0)); err != nil {
		return goFunc{}, err
	}
	// A name without a line is worth having, so what follows may fail:
	// assembly and linker-made functions have no file.
	file, err := t.valueAt(r, field(4), entry, pc)
	if err != nil || file < 0 {
		return fn, nil
	}
	line, err := t.valueAt(r, field(5), entry, pc)
	if err != nil || line < 0 {
		return fn, nil
	}
	nameOff, err := t.number(r, t.units+(field(7)+uint64(file))*4, 4)
	if err != nil || nameOff == 0xffffffff {
		return fn, nil
	}
	if fn.file, err = t.text(r, t.files+nameOff); err != nil || fn.file == "" {
		fn.file = ""
		return fn, nil
	}
	fn.line = int(line)
	return fn, nil
}

var errNoValue = errors.New("no value for the address")

// valueAt runs the pc-value table at off to pc. A table is pairs of numbers of
// variable length: what to add to the value (zigzag, starting from -1) and how
// many instruction quanta it then holds. A pair whose first number is 0 ends it,
// unless it is the first pair.
func (t *goTable) valueAt(r io.ReaderAt, off, entry, pc uint64) (int32, error) {
	start := t.deltas + off
	if off == 0 || start >= t.size {
		return 0, errNoValue
	}
	in := deltaReader{r: r, next: t.offset + start, left: min(t.size-start, maxDeltas)}
	value, at := int32(-1), entry
	for first := true; ; first = false {
		change := in.uvarint()
		if change == 0 && !first {
			return 0, errNoValue
		}
		value += int32(change>>1) ^ -int32(change&1)
		at += uint64(in.uvarint()) * t.quantum
		if in.err != nil {
			return 0, in.err
		}
		if pc < at {
			return value, nil
		}
	}
}

// deltaReader reads bytes of a file in small blocks: most tables are short.
type deltaReader struct {
	r     io.ReaderAt
	next  uint64 // file offset of the next block
	left  uint64 // bytes that may still be read from there
	block [128]byte
	have  []byte
	err   error
}

// uvarint reads a number of at most 32 bits; after an error it returns 0.
func (d *deltaReader) uvarint() uint32 {
	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		if len(d.have) == 0 && !d.fill() {
			return 0
		}
		c := d.have[0]
		d.have = d.have[1:]
		v |= uint32(c&0x7f) << shift
		if c&0x80 == 0 {
			return v
		}
	}
	if d.err == nil {
		d.err = errNoValue
	}
	return 0
}

func (d *deltaReader) fill() bool {
	if d.err != nil {
		return false
	}
	n, err := d.r.ReadAt(d.block[:min(uint64(len(d.block)), d.left)], int64(d.next))
	if n == 0 {
		d.err = errors.Join(errNoValue, err)
		return false
	}
	d.have = d.block[:n]
	d.next += uint64(n)
	d.left -= uint64(n)
	return true
}
