// SPDX-License-Identifier: Apache-2.0

package userstack

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
)

var errNoSymbols = errors.New("no ELF function symbols")

// elfSymbols is an index of the functions of a symbol table; the names stay in
// the file.
type elfSymbols struct {
	funcs     []elfFunc // by value, one for each value
	names     uint64    // file offset of the string table
	namesSize uint64
}

// elfFunc is 16 bytes, because a large program has 100,000 of them.
type elfFunc struct {
	value uint64
	size  uint32
	// name is the offset in the string table; the top bit marks a local
	// symbol, so that of aliases the global one sorts first.
	name uint32
}

const (
	elfFuncSize = 16
	localBit    = 1 << 31
)

// readELFSymbols indexes .symtab or, in a stripped file, .dynsym. It does not
// begin one that would use more than maxBytes.
func readELFSymbols(r io.ReaderAt, f *elfFile, maxBytes int64) (*elfSymbols, error) {
	var problem error
	for _, name := range []string{".symtab", ".dynsym"} {
		s := f.section(name)
		if s == nil {
			continue
		}
		syms, err := f.indexSymbols(r, s, maxBytes)
		if err == nil {
			return syms, nil
		}
		problem = errors.Join(problem, fmt.Errorf("%s: %w", name, err))
	}
	return nil, errors.Join(errNoSymbols, problem)
}

func (f *elfFile) indexSymbols(r io.ReaderAt, s *section, maxBytes int64) (*elfSymbols, error) {
	entry := uint64(16)
	if f.is64 {
		entry = 24
	}
	if s.entrySize != entry || uint64(s.link) >= uint64(len(f.sections)) {
		return nil, fmt.Errorf("entries of %d bytes, names in section %d", s.entrySize, s.link)
	}
	names := f.sections[s.link]
	if names.kind != elf.SHT_STRTAB || names.size >= localBit {
		return nil, errors.New("no string table")
	}
	if need := s.size / entry * elfFuncSize; need > uint64(max(maxBytes, 0)) {
		return nil, fmt.Errorf("index needs up to %d bytes, %d are allowed", need, maxBytes)
	}
	syms := &elfSymbols{names: names.offset, namesSize: names.size}
	chunk := make([]byte, entry*2048)
	for off := uint64(0); off+entry <= s.size; off += uint64(len(chunk)) {
		n, err := r.ReadAt(chunk[:min(uint64(len(chunk)), s.size-off)], int64(s.offset+off))
		for b := chunk[:n]; uint64(len(b)) >= entry; b = b[entry:] {
			if fn, ok := f.function(b); ok {
				syms.funcs = append(syms.funcs, fn)
			}
		}
		if err != nil && err != io.EOF {
			return nil, fmt.Errorf("reading symbols: %w", err)
		}
	}
	if len(syms.funcs) == 0 {
		return nil, errors.New("no functions")
	}
	syms.sort()
	return syms, nil
}

// function decodes one symbol; ok is false when it is no defined function.
func (f *elfFile) function(b []byte) (fn elfFunc, ok bool) {
	le := binary.LittleEndian
	var info byte
	var shndx uint16
	var size uint64
	if f.is64 {
		info, shndx = b[4], le.Uint16(b[6:])
		fn.value, size = le.Uint64(b[8:]), le.Uint64(b[16:])
	} else {
		fn.value, size = uint64(le.Uint32(b[4:])), uint64(le.Uint32(b[8:]))
		info, shndx = b[12], le.Uint16(b[14:])
	}
	kind := elf.ST_TYPE(info)
	if kind != elf.STT_FUNC && kind != elf.STT_GNU_IFUNC || elf.SectionIndex(shndx) == elf.SHN_UNDEF || fn.value == 0 {
		return fn, false
	}
	fn.size = uint32(min(size, 1<<32-1))
	fn.name = le.Uint32(b) &^ localBit
	if elf.ST_BIND(info) == elf.STB_LOCAL {
		fn.name |= localBit
	}
	return fn, true
}

// sort orders by value and keeps, of aliases, the first global one.
func (s *elfSymbols) sort() {
	slices.SortFunc(s.funcs, func(a, b elfFunc) int {
		switch {
		case a.value != b.value:
			if a.value < b.value {
				return -1
			}
			return 1
		case a.name < b.name:
			return -1
		case a.name > b.name:
			return 1
		}
		return 0
	})
	s.funcs = slices.CompactFunc(s.funcs, func(a, b elfFunc) bool { return a.value == b.value })
	s.funcs = slices.Clip(slices.Clone(s.funcs))
}

// lookup returns the function that contains the linked address pc. A function
// of size 0 (assembly) extends to the next one.
func (s *elfSymbols) lookup(r io.ReaderAt, pc uint64) (name string, entry uint64, err error) {
	i := sort.Search(len(s.funcs), func(i int) bool { return s.funcs[i].value > pc })
	if i == 0 {
		return "", 0, errNoSymbols
	}
	fn := s.funcs[i-1]
	if fn.size != 0 && pc-fn.value >= uint64(fn.size) {
		return "", 0, errNoSymbols
	}
	off := uint64(fn.name &^ localBit)
	if off >= s.namesSize {
		return "", 0, errNoSymbols
	}
	name, err = readName(r, s.names+off, s.namesSize-off)
	return name, fn.value, err
}

// readName reads a zero-terminated string of at most maxName bytes that ends
// before limit; a longer one is cut.
func readName(r io.ReaderAt, off, limit uint64) (string, error) {
	var name []byte
	for limit > 0 && len(name) < maxName {
		var block [128]byte
		n, err := r.ReadAt(block[:min(limit, uint64(len(block)))], int64(off))
		if end := bytes.IndexByte(block[:n], 0); end >= 0 {
			return string(append(name, block[:end]...)), nil
		}
		if n == 0 {
			return "", errors.Join(io.ErrUnexpectedEOF, err)
		}
		name = append(name, block[:n]...)
		off, limit = off+uint64(n), limit-uint64(n)
	}
	return string(name[:min(len(name), maxName)]), nil
}
