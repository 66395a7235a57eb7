// SPDX-License-Identifier: Apache-2.0

package userstack

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
)

// findTextStart returns the address that function offsets count from.
//
// Go 1.18 to 1.25 have it in the header, where a position-independent program
// has a relocation instead. Go 1.26 has 0 there, and it is a field of the
// runtime's module record, which then has its own section. The start of .text
// is right too, unless C code was linked in front.
func findTextStart(r io.ReaderAt, f *elfFile, tableAddr, inHeader, ptrSize uint64) (uint64, error) {
	if inHeader != 0 {
		return inHeader, nil
	}
	if addend, ok := relativeRelocation(r, f, tableAddr+8+2*ptrSize); ok && addend != 0 {
		return addend, nil
	}
	// Words of runtime.moduledata: pcHeader, six slices, findfunctab, minpc,
	// maxpc, text.
	const textWord = 1 + 6*3 + 3
	if m := f.section(".go.module"); m != nil && m.size >= (textWord+1)*ptrSize {
		addr := textWord * ptrSize
		if addend, ok := relativeRelocation(r, f, m.addr+addr); ok && addend != 0 {
			return addend, nil
		}
		b, err := readRange(r, m.offset+addr, ptrSize)
		if err == nil && wordAt(b, ptrSize) != 0 {
			return wordAt(b, ptrSize), nil
		}
	}
	if text := f.section(".text"); text != nil {
		return text.addr, nil
	}
	return 0, fmt.Errorf("%w: start of text unknown", errNoGoTable)
}

// relativeRelocation returns the addend of the relative relocation of the word
// at addr. Of ELF32 files the addend is in place, so there is nothing to find.
func relativeRelocation(r io.ReaderAt, f *elfFile, addr uint64) (uint64, bool) {
	s := f.section(".rela.dyn", ".rela")
	const entry = 24
	if s == nil || !f.is64 || s.entrySize != entry {
		return 0, false
	}
	chunk := make([]byte, entry*2048)
	for off := uint64(0); off+entry <= s.size; off += uint64(len(chunk)) {
		n, _ := r.ReadAt(chunk[:min(uint64(len(chunk)), s.size-off)], int64(s.offset+off))
		for b := chunk[:n]; len(b) >= entry; b = b[entry:] {
			if binary.LittleEndian.Uint64(b) != addr {
				continue
			}
			kind := uint32(binary.LittleEndian.Uint64(b[8:]))
			if f.machine == elf.EM_X86_64 && kind == uint32(elf.R_X86_64_RELATIVE) ||
				f.machine == elf.EM_AARCH64 && kind == uint32(elf.R_AARCH64_RELATIVE) {
				return binary.LittleEndian.Uint64(b[16:]), true
			}
		}
		if n < len(chunk) {
			break
		}
	}
	return 0, false
}
