// SPDX-License-Identifier: Apache-2.0

package userstack

import (
	"debug/elf"
	"encoding/binary"
)

// content is a section of a hand-made ELF file.
type content struct {
	name      string
	kind      elf.SectionType
	data      []byte
	link      uint32
	entrySize uint64
}

// The hand-made files are mapped from textAddr on, one segment, and every
// section's address is its file offset plus textAddr.
const textAddr = 0x400000

// sectionStart is the file offset of the first section's data.
const sectionStart = 64 + 56

// buildELF makes an amd64 file with one executable segment over all of it.
func buildELF(sections []content) []byte {
	le := binary.LittleEndian
	names := []byte{0}
	var body []byte
	var headers []byte
	headers = append(headers, make([]byte, 64)...) // section 0
	sections = append(sections, content{name: ".shstrtab", kind: elf.SHT_STRTAB})
	for i, s := range sections {
		nameOff := len(names)
		names = append(append(names, s.name...), 0)
		if i == len(sections)-1 {
			s.data = names
		}
		for (sectionStart+len(body))%32 != 0 {
			body = append(body, 0)
		}
		off := uint64(sectionStart + len(body))
		body = append(body, s.data...)
		h := make([]byte, 64)
		le.PutUint32(h, uint32(nameOff))
		le.PutUint32(h[4:], uint32(s.kind))
		le.PutUint64(h[16:], textAddr+off)
		le.PutUint64(h[24:], off)
		le.PutUint64(h[32:], uint64(len(s.data)))
		le.PutUint32(h[40:], s.link)
		le.PutUint64(h[56:], s.entrySize)
		headers = append(headers, h...)
	}
	h := make([]byte, 64)
	copy(h, elf.ELFMAG)
	h[elf.EI_CLASS], h[elf.EI_DATA], h[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	le.PutUint16(h[16:], uint16(elf.ET_DYN))
	le.PutUint16(h[18:], uint16(elf.EM_X86_64))
	le.PutUint64(h[32:], 64)
	le.PutUint64(h[40:], uint64(sectionStart+len(body)))
	le.PutUint16(h[54:], 56)
	le.PutUint16(h[56:], 1)
	le.PutUint16(h[58:], 64)
	le.PutUint16(h[60:], uint16(len(sections)+1))
	le.PutUint16(h[62:], uint16(len(sections)))
	p := make([]byte, 56)
	le.PutUint32(p, uint32(elf.PT_LOAD))
	le.PutUint32(p[4:], uint32(elf.PF_R|elf.PF_X))
	le.PutUint64(p[16:], textAddr)
	le.PutUint64(p[32:], 1<<20)
	return append(append(append(h, p...), body...), headers...)
}

// goTableBytes makes a table with functions main.a [0,0x40) and main.b
// [0x40,0x80) in a.go, a at lines 10 and from 0x10 on 11, b at 20. Header word
// textStart is only in the formats since 1.18.
func goTableBytes(magic uint32, textStart, base uint64) []byte {
	le := binary.LittleEndian
	wide := magic == magicGo116
	var b []byte
	word := func(v uint64) { b = le.AppendUint64(b, v) }
	number := func(v uint64) {
		if wide {
			b = le.AppendUint64(b, v)
		} else {
			b = le.AppendUint32(b, uint32(v))
		}
	}
	header := uint64(8 + 8*8)
	if wide {
		header = 8 + 7*8
	}
	names := "main.a\x00main.b\x00"
	units := le.AppendUint32(nil, 0)
	files := "/src/a.go\x00"
	// An unused first byte, because offset 0 means that there is no table.
	// File 0 throughout; zigzag(1)=2. Lines: -1+11=10 for 0x10, +1 for 0x30;
	// -1+21=20.
	deltas := []byte{0xff, 2, 0x40, 0, 22, 0x10, 2, 0x30, 0, 42, 0x40, 0}
	at := header
	next := func(n int) uint64 { start := at; at += uint64(n); return start }
	offNames, offUnits := next(len(names)), next(len(units))
	offFiles, offDeltas := next(len(files)), next(len(deltas))
	b = append(le.AppendUint32(b, magic), 0, 0, 1, 8)
	word(2)
	word(1)
	if !wide {
		word(textStart)
	}
	for _, off := range []uint64{offNames, offUnits, offFiles, offDeltas, at} {
		word(off)
	}
	b = append(b, names...)
	b = append(b, units...)
	b = append(b, files...)
	b = append(b, deltas...)
	field := uint64(4)
	if wide {
		field = 8
	}
	index := 5 * field
	record := field + 8*4
	number(base)
	number(index)
	number(base + 0x40)
	number(index + record)
	number(base + 0x80)
	for i, line := range []uint32{4, 9} {
		number(base + uint64(i)*0x40)
		for _, v := range []uint32{uint32(7 * i), 0, 0, 0, 1, line, 0, 0} {
			b = le.AppendUint32(b, v)
		}
	}
	return b
}

// symbolBytes is one Elf64_Sym.
func symbolBytes(name uint32, info byte, shndx uint16, value, size uint64) []byte {
	le := binary.LittleEndian
	b := append(le.AppendUint32(nil, name), info, 0)
	b = le.AppendUint16(b, shndx)
	return le.AppendUint64(le.AppendUint64(b, value), size)
}
