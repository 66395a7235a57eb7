// SPDX-License-Identifier: Apache-2.0

package userstack

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// name resolves a linked address in a hand-made file.
func nameIn(file []byte, maxBytes int64, pc uint64, isReturn bool) Frame {
	im := newImage(bytes.NewReader(file), int64(len(file)), maxBytes)
	f := Frame{File: "/usr/bin/x", FileOffset: pc - textAddr}
	lookup := f.FileOffset
	if isReturn {
		lookup--
	}
	im.name(bytes.NewReader(file), &f, lookup)
	return f
}

func TestGoTableFormats(t *testing.T) {
	const base = textAddr + 0x1000
	relocation := func(addr, addend uint64) content {
		le := binary.LittleEndian
		data := le.AppendUint64(nil, addr)
		data = le.AppendUint64(data, uint64(elf.R_X86_64_RELATIVE))
		return content{name: ".rela.dyn", kind: elf.SHT_RELA, data: le.AppendUint64(data, addend), entrySize: 24}
	}
	module := make([]byte, 23*8)
	binary.LittleEndian.PutUint64(module[22*8:], base)
	table := func(name string, magic uint32, textStart, base uint64) content {
		return content{name: name, kind: elf.SHT_PROGBITS, data: goTableBytes(magic, textStart, base)}
	}
	// The first section's data starts at the first multiple of 32.
	const tableAddr = textAddr + (sectionStart+31)/32*32
	note := content{name: ".go.buildinfo", kind: elf.SHT_PROGBITS, data: []byte("x")}
	padded := table(".data.rel.ro", magicGo120, base, 0)
	padded.data = append(make([]byte, 96<<10), padded.data...)
	for _, tc := range []struct {
		what     string
		sections []content
	}{
		{"Go 1.16, addresses in the index", []content{table(".gopclntab", magicGo116, 0, base)}},
		{"Go 1.18", []content{table(".gopclntab", magicGo118, base, 0)}},
		{"Go 1.20", []content{table(".gopclntab", magicGo120, base, 0)}},
		{"PIE section name", []content{table(".data.rel.ro.gopclntab", magicGo120, base, 0)}},
		{"text start only in a relocation", []content{table(".gopclntab", magicGo120, 0, 0), relocation(tableAddr+24, base)}},
		{"Go 1.26, text start in the module record", []content{table(".gopclntab", magicGo120, 0, 0), {name: ".go.module", kind: elf.SHT_PROGBITS, data: module}}},
		{"merged into other data by the C linker", []content{note, padded}},
	} {
		file := buildELF(tc.sections)
		for _, c := range []struct {
			pc   uint64
			ret  bool
			want string
		}{
			{base, false, "main.a+0x0 /src/a.go:10"},
			{base + 0xf, false, "main.a+0xf /src/a.go:10"},
			{base + 0x10, false, "main.a+0x10 /src/a.go:11"},
			{base + 0x10, true, "main.a+0x10 /src/a.go:10"},
			{base + 0x40, false, "main.b+0x0 /src/a.go:20"},
			{base + 0x40, true, "main.a+0x40 /src/a.go:11"},
			{base + 0x7f, false, "main.b+0x3f /src/a.go:20"},
			{base + 0x80, false, "[x+0x1080]"},
			{base - 1, false, "[x+0xfff]"},
		} {
			if got := nameIn(file, 1<<20, c.pc, c.ret).String(); got != c.want {
				t.Errorf("%s: %#x (return address: %v) is %s, want %s", tc.what, c.pc, c.ret, got, c.want)
			}
		}
	}
}

func symbolFile(table string) []byte {
	global, local := elf.ST_INFO(elf.STB_GLOBAL, elf.STT_FUNC), elf.ST_INFO(elf.STB_LOCAL, elf.STT_FUNC)
	object := elf.ST_INFO(elf.STB_GLOBAL, elf.STT_OBJECT)
	names := "\x00__read_alias\x00read\x00no_size\x00an_object\x00imported\x00"
	at := func(name string) uint32 { return uint32(strings.Index(names, "\x00"+name+"\x00")) + 1 }
	var syms []byte
	for _, s := range [][]byte{
		symbolBytes(0, 0, 0, 0, 0),
		symbolBytes(at("__read_alias"), local, 1, textAddr+0x100, 0x20),
		symbolBytes(at("read"), global, 1, textAddr+0x100, 0x20),
		symbolBytes(at("no_size"), global, 1, textAddr+0x200, 0),
		symbolBytes(at("an_object"), object, 1, textAddr+0x280, 8),
		symbolBytes(at("imported"), global, 0, textAddr+0x290, 8),
		symbolBytes(0x7000000, global, 1, textAddr+0x300, 0x10),
	} {
		syms = append(syms, s...)
	}
	kind := elf.SHT_SYMTAB
	if table == ".dynsym" {
		kind = elf.SHT_DYNSYM
	}
	return buildELF([]content{
		{name: ".strtab", kind: elf.SHT_STRTAB, data: []byte(names)},
		{name: table, kind: kind, data: syms, link: 1, entrySize: 24},
	})
}

func TestELFSymbols(t *testing.T) {
	for _, table := range []string{".symtab", ".dynsym"} {
		file := symbolFile(table)
		for _, tc := range []struct {
			what string
			pc   uint64
			want string
		}{
			{"the global one of two aliases", textAddr + 0x104, "read+0x4 [x]"},
			{"last byte", textAddr + 0x11f, "read+0x1f [x]"},
			{"past the size", textAddr + 0x120, "[x+0x120]"},
			{"no size: up to the next function", textAddr + 0x2f0, "no_size+0xf0 [x]"},
			{"a name outside the string table", textAddr + 0x304, "[x+0x304]"},
			{"before all functions", textAddr + 0x50, "[x+0x50]"},
			{"outside every segment", textAddr + 1<<30, "[x+0x40000000]"},
		} {
			if got := nameIn(file, 1<<20, tc.pc, false).String(); got != tc.want {
				t.Errorf("%s, %s: %s, want %s", table, tc.what, got, tc.want)
			}
		}
		if got := nameIn(file, elfFuncSize, textAddr+0x104, false); got.Symbol != "" {
			t.Errorf("%s: an index over the limit was made: %v", table, got)
		}
	}
}

func TestFrameString(t *testing.T) {
	for _, tc := range []struct {
		frame Frame
		want  string
	}{
		{Frame{Addr: 0x7f01, Symbol: "main.f", Offset: 16, File: "/x", Source: "/s/f.go", Line: 3}, "main.f+0x10 /s/f.go:3"},
		{Frame{Addr: 0x7f01, Symbol: "read", Offset: 4, File: "/lib/libc.so.6"}, "read+0x4 [libc.so.6]"},
		{Frame{Addr: 0x7f01, File: "/lib/libc.so.6", FileOffset: 0x99}, "[libc.so.6+0x99]"},
		{Frame{Addr: 0x7f01, File: "[vdso]", FileOffset: 5}, "[[vdso]+0x5]"},
		{Frame{Addr: 0x7f01}, "0x7f01"},
	} {
		if got := tc.frame.String(); got != tc.want {
			t.Errorf("%+v prints %s, want %s", tc.frame, got, tc.want)
		}
	}
}

func TestCacheIsBoundedByNumberAndBytes(t *testing.T) {
	made := 0
	file := func(i uint64, functions int) (fileKey, func() *image) {
		return fileKey{inode: i}, func() *image {
			made++
			return &image{syms: &elfSymbols{funcs: make([]elfFunc, functions)}}
		}
	}
	c := newCache(3, 100_000)
	use := func(i uint64, functions int) { k, f := file(i, functions); c.get(k, f) }
	for _, i := range []uint64{1, 2, 3, 1, 4} { // 2 is the least recently used
		use(i, 10)
	}
	if c.order.Len() != 3 || made != 4 {
		t.Fatalf("%d files kept, %d made", c.order.Len(), made)
	}
	use(1, 10)
	if made != 4 {
		t.Error("the most used file was dropped")
	}
	use(2, 10)
	if made != 5 {
		t.Error("the least used file was kept")
	}
	use(9, 5000) // 80,000 bytes
	if c.bytes > 100_000 {
		t.Errorf("%d bytes kept", c.bytes)
	}
	use(10, 50_000) // over the bound alone: used once, not kept
	if c.bytes > 100_000 {
		t.Errorf("%d bytes kept after a file over the bound", c.bytes)
	}
	sum := int64(0)
	for e := c.order.Front(); e != nil; e = e.Next() {
		sum += e.Value.(*cached).bytes
	}
	if sum != c.bytes || c.order.Len() != len(c.byKey) {
		t.Errorf("accounts %d bytes, holds %d", c.bytes, sum)
	}
}

const mapsText = `55a3968e3000-55a3968e5000 r--p 00000000 fe:00 247278                     /usr/bin/head
55a3968e5000-55a3968eb000 r-xp 00002000 fe:00 247278                     /usr/bin/head
7f2c40000000-7f2c40021000 rw-p 00000000 00:00 0
7f2c45000000-7f2c45100000 r-xp 00001000 fe:00 12                         /opt/my app/lib.so (deleted)
7ffd1b7d1000-7ffd1b7d3000 r-xp 00000000 00:00 0                          [vdso]
`

func TestFindMappings(t *testing.T) {
	text := mapsText + strings.Repeat("x", 100_000) + "\n" +
		"7fff00000000-7fff00001000 r-xp 00000000 fe:00 77 /after-a-long-line"
	addrs := []uint64{0x7fff00000010, 0x55a3968e5004, 0x55a3968e5005, 0x7f2c40000010, 0x7f2c45000010, 0x7ffd1b7d1001, 0x1234, 0x55a3968eb000}
	found, err := findMappings(strings.NewReader(text), addrs)
	if err != nil {
		t.Fatal(err)
	}
	got := map[uint64]string{}
	for a, m := range found {
		got[a] = m.path
	}
	want := map[uint64]string{
		0x7fff00000010: "/after-a-long-line",
		0x55a3968e5004: "/usr/bin/head", 0x55a3968e5005: "/usr/bin/head",
		0x7f2c40000010: "", 0x7f2c45000010: "/opt/my app/lib.so (deleted)", 0x7ffd1b7d1001: "[vdso]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mappings (-want +got):\n%s", diff)
	}
	if m := found[0x55a3968e5004]; m.offset != 0x2000 || m.inode != 247278 || m != found[0x55a3968e5005] {
		t.Errorf("mapping %+v", m)
	}
}

func FuzzMaps(f *testing.F) {
	f.Add([]byte(mapsText))
	f.Add([]byte("0-ffffffffffffffff ---p ffffffffffffffff 0:0 1 /x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		addrs := []uint64{0, 1, 0x55a3968e5004, ^uint64(0)}
		found, err := findMappings(bytes.NewReader(text), addrs)
		if err != nil {
			t.Fatalf("an error that no reader made: %v", err)
		}
		for a, m := range found {
			if a < m.start || a >= m.end {
				t.Fatalf("%#x is not in %+v", a, m)
			}
		}
	})
}

func FuzzELF(f *testing.F) {
	const base = textAddr + 0x1000
	for _, data := range [][]byte{
		goTableBytes(magicGo116, 0, base), goTableBytes(magicGo118, base, 0), goTableBytes(magicGo120, base, 0),
	} {
		f.Add(buildELF([]content{{name: ".gopclntab", kind: elf.SHT_PROGBITS, data: data}}))
	}
	f.Add(buildELF([]content{
		{name: ".go.buildinfo", kind: elf.SHT_PROGBITS, data: []byte("x")},
		{name: ".data.rel.ro", kind: elf.SHT_PROGBITS, data: goTableBytes(magicGo120, base, 0)},
	}))
	f.Add(symbolFile(".symtab"))
	f.Add(symbolFile(".dynsym"))
	f.Fuzz(func(t *testing.T, file []byte) {
		r := bytes.NewReader(file)
		im := newImage(r, int64(len(file)), 1<<20)
		if im.bytes() > 1<<20+maxSegments*32+512 {
			t.Fatalf("%d bytes kept of a file of %d", im.bytes(), len(file))
		}
		for _, off := range []uint64{0, 0x100, 0x204, 0x1000, 0x1010, 0x1040, 0x107f, 1 << 40, ^uint64(0)} {
			frame := Frame{FileOffset: off}
			im.name(r, &frame, off)
			if len(frame.Symbol) > maxName || len(frame.Source) > maxName {
				t.Fatalf("name of %d bytes", len(frame.Symbol))
			}
		}
	})
}

func BenchmarkFirstLookAtAGoProgram(b *testing.B) {
	f, st := ownProgram(b)
	b.ReportAllocs()
	for b.Loop() {
		if im := newImage(f, st, defaultMaxBytes); im.err != nil {
			b.Fatal(im.err)
		}
	}
}

func BenchmarkResolve16FramesOfThisProcess(b *testing.B) {
	_, _ = ownProgram(b)
	r := New(Options{})
	var addrs []uint64
	for i := range uint64(16) {
		addrs = append(addrs, pcOf(b)+i)
	}
	b.ReportAllocs()
	for b.Loop() {
		if f := r.Resolve(os.Getpid(), addrs); f[0].Symbol == "" {
			b.Fatalf("not resolved: %v", f[0])
		}
	}
}

func ownProgram(b *testing.B) (*os.File, int64) {
	b.Helper()
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		b.Skipf("no /proc: %v", err)
	}
	b.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	return f, st.Size()
}

// pcOf returns an address in this test program.
func pcOf(b *testing.B) uint64 {
	b.Helper()
	pc, _, _, ok := runtime.Caller(0)
	if !ok {
		b.Fatal("the runtime does not know this function")
	}
	return uint64(pc)
}
