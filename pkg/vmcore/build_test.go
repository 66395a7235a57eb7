// SPDX-License-Identifier: Apache-2.0

package vmcore

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"maps"
	"math/bits"
	"slices"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// noted is a VMCOREINFO note as kernels have it.
const noted = "OSRELEASE=6.12.1-test\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)=ffffffffba822000\nKERNELOFFSET=37c00000\n" +
	"NUMBER(phys_base)=-708837376\nNUMBER(VMALLOC_START)=0xff5f50e840000000\nCRASHTIME=1763840000\n"

// pageOf is a page's content: no two are alike, and each can be compressed.
func pageOf(n int) []byte {
	b := bytes.Repeat([]byte{byte(n), byte(n >> 8), 7, 0}, PageSize/4)
	copy(b, "page")
	return b
}

func put(b []byte, offset int, v any) {
	switch v := v.(type) {
	case uint16:
		binary.LittleEndian.PutUint16(b[offset:], v)
	case uint32:
		binary.LittleEndian.PutUint32(b[offset:], v)
	case uint64:
		binary.LittleEndian.PutUint64(b[offset:], v)
	}
}

// note is an ELF note.
func note(name, desc string) []byte {
	b := make([]byte, 12)
	put(b, 0, uint32(len(name)+1))
	put(b, 4, uint32(len(desc)))
	for _, text := range []string{name + "\x00", desc} {
		b = append(b, text...)
		b = append(b, make([]byte, -len(b)&3)...)
	}
	return b
}

// load is memory of an ELF dump; bytes beyond its data were left out.
type load struct {
	at      uint64
	data    []byte
	leftOut int
}

// elfDump makes the file that kdump and QEMU make.
func elfDump(loads []load, notes []byte) []byte {
	const header = 64
	n := len(loads) + 1
	b := make([]byte, header+n*programHeaderSize)
	copy(b, elf.ELFMAG)
	b[elf.EI_CLASS], b[elf.EI_DATA] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB)
	put(b, 16, uint16(elf.ET_CORE))
	put(b, 18, uint16(elf.EM_X86_64))
	put(b, 32, uint64(header))
	put(b, 54, uint16(programHeaderSize))
	put(b, 56, uint16(n))
	program := func(i int, kind elf.ProgType, at uint64, data []byte, inMemory int) {
		h := b[header+i*programHeaderSize:]
		put(h, 0, uint32(kind))
		put(h, 8, uint64(len(b)))
		put(h, 24, at)
		put(h, 32, uint64(len(data)))
		put(h, 40, uint64(inMemory))
		b = append(b, data...)
	}
	program(0, elf.PT_NOTE, 0, notes, len(notes))
	for i, l := range loads {
		program(i+1, elf.PT_LOAD, l.at, l.data, len(l.data)+l.leftOut)
	}
	return b
}

// kdump is a dump of makedumpfile's format.
type kdump struct {
	saved   map[int][]byte // pages by number
	leftOut []int          // pages that the machine had too
	pack    func(page []byte) (packed []byte, flags uint32)
	version uint32 // 0: 6
	change  func(header, sub []byte)
}

func (k kdump) file() []byte {
	last := slices.Max(append(slices.Collect(maps.Keys(k.saved)), k.leftOut...))
	blocks := last/blockBits + 1
	h, sub := make([]byte, PageSize), make([]byte, PageSize)
	copy(h, kdumpSignature)
	version := k.version
	if version == 0 {
		version = 6
	}
	put(h, 8, version)
	copy(h[272:], "x86_64")
	put(h, 428, uint32(PageSize))
	put(h, 432, uint32(1))
	put(h, 436, uint32(2*blocks))
	put(h, 440, uint32(last+1))
	put(sub, 8, uint32(31))
	if version >= 6 {
		put(sub, 96, uint64(last+1))
	}
	had, saved := make([]byte, blocks*PageSize), make([]byte, blocks*PageSize)
	for n := range k.saved {
		had[n/8] |= 1 << (n % 8)
		saved[n/8] |= 1 << (n % 8)
	}
	for _, n := range k.leftOut {
		had[n/8] |= 1 << (n % 8)
	}
	count := 0
	for _, b := range saved {
		count += bits.OnesCount8(b)
	}
	descriptors := make([]byte, count*descriptorSize)
	at := len(h) + len(sub) + len(had) + len(saved) + len(descriptors)
	put(sub, 32, uint64(at))
	put(sub, 40, uint64(len(noted)))
	pages := []byte(noted)
	pack := k.pack
	if pack == nil {
		pack = func(page []byte) ([]byte, uint32) { return page, 0 }
	}
	for i, n := range slices.Sorted(maps.Keys(k.saved)) {
		packed, flags := pack(k.saved[n])
		d := descriptors[i*descriptorSize:]
		put(d, 0, uint64(at+len(pages)))
		put(d, 8, uint32(len(packed)))
		put(d, 12, flags)
		pages = append(pages, packed...)
	}
	if k.change != nil {
		k.change(h, sub)
	}
	return slices.Concat(h, sub, had, saved, descriptors, pages)
}

func packZlib(page []byte) ([]byte, uint32) {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	if _, err := z.Write(page); err != nil {
		panic(err) // into memory
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes(), compressedZlib
}

func packSnappy(page []byte) ([]byte, uint32) { return snappy.Encode(nil, page), compressedSnappy }

func packZstd(t testing.TB) func(page []byte) ([]byte, uint32) {
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return func(page []byte) ([]byte, uint32) { return z.EncodeAll(page, nil), compressedZstd }
}

// flatten makes the flattened form of a file, in parts of a size.
func flatten(file []byte, size int) []byte {
	b := make([]byte, flattenedHeader)
	copy(b, flattenedSignature)
	binary.BigEndian.PutUint64(b[16:], 1)
	binary.BigEndian.PutUint64(b[24:], flattenedVersion)
	for at := 0; at < len(file); at += size {
		b = flattenedPart(b, uint64(at), file[at:min(at+size, len(file))])
	}
	return flattenedPart(b, ^uint64(0), nil)
}

func flattenedPart(b []byte, at uint64, data []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, at)
	b = binary.BigEndian.AppendUint64(b, uint64(len(data)))
	return append(b, data...)
}
