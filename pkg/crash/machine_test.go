// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/netns-trace/netns-trace/pkg/holders/btftest"
	"github.com/netns-trace/netns-trace/pkg/vmcore"
)

// The tests' machine has 4 MiB of memory. Its kernel image is the second, moved by KASLR
// as a whole; memory as a whole is mapped by large pages, and one page as vmalloc does it.
const (
	memorySize = 4 << 20
	imageAt    = imageBase + 0x3000000
	imageSize  = 1 << 20
	imagePhys  = 1 << 20
	directAt   = 0xffff9a8000000000
	vmallocAt  = 0xffffa1c000004000
	modulesAt  = 0xffffffffc0400000
	release    = "6.12.1-test"
	unmovedBy  = 0x2000000 // where the image was linked to is so much below
)

// Places in memory, physical.
const (
	physTables, physText, physNames = imagePhys + 0x10000, imagePhys + 0x20000, imagePhys + 0x30000
	physBTF, physVariables          = imagePhys + 0x50000, imagePhys + 0x60000
	physPUD, physPMD, physVPUD      = 0x200000, 0x201000, 0x202000
	physVPMD, physVPTE, physVmalloc = 0x203000, 0x204000, 0x205000
	physModule, physModuleText      = 0x210000, 0x211000
	physModuleBTF                   = 0x220000
)

// variable is the address of a variable of the image, the n-th.
func variable(n int) uint64 { return imageAt + physVariables - imagePhys + uint64(n)*0x100 }

func direct(physical uint64) uint64 { return directAt + physical }

// machine is what a dump is made of.
type machine struct {
	memory  []byte
	info    map[string]string
	symbols []testSymbol
	leftOut uint64 // physical address of a page that was not saved; 0: none
	is      elf.Machine
}

type testSymbol struct {
	kind byte
	name string
	at   uint64
}

func (m *machine) put(physical uint64, values ...uint64) {
	for i, v := range values {
		binary.LittleEndian.PutUint64(m.memory[physical+8*uint64(i):], v)
	}
}

func (m *machine) symbol(name string) uint64 { return imageAt + physNames - imagePhys + m.place(name) }

// place is where the parts of the table of symbols are.
func (m *machine) place(part string) uint64 {
	return map[string]uint64{
		"kallsyms_num_syms": 0, "kallsyms_relative_base": 8, "kallsyms_token_index": 0x100,
		"kallsyms_token_table": 0x400, "kallsyms_offsets": 0x1000, "kallsyms_names": 0x2000,
	}[part]
}

func testTypes() (image, module []byte) {
	b := btftest.New().
		Struct("list_head", 16, btftest.Member{Name: "next", Type: "void*"}, btftest.Member{Name: "prev", Offset: 8, Type: "void*"}).
		Struct("mod_kallsyms", 32, btftest.Member{Name: "symtab", Type: "void*"}, btftest.Member{Name: "num_symtab", Offset: 8, Type: "u32"},
			btftest.Member{Name: "strtab", Offset: 16, Type: "void*"}, btftest.Member{Name: "typetab", Offset: 24, Type: "void*"}).
		Struct("module", 128, btftest.Member{Name: "list", Offset: 8, Type: "list_head"}, btftest.Member{Name: "name", Offset: 24, Type: "[56]u8"},
			btftest.Member{Name: "kallsyms", Offset: 88, Type: "*mod_kallsyms"}).
		Struct("btf", 80, btftest.Member{Name: "data", Type: "void*"}, btftest.Member{Name: "data_size", Offset: 8, Type: "u32"},
			btftest.Member{Name: "name", Offset: 16, Type: "[64]u8"}).
		Struct("btf_module", 32, btftest.Member{Name: "list", Type: "list_head"}, btftest.Member{Name: "btf", Offset: 16, Type: "*btf"}).
		Struct("timespec64", 16, btftest.Member{Name: "tv_sec", Type: "u64"}, btftest.Member{Name: "tv_nsec", Offset: 8, Type: "u64"}).
		Struct("tk_read_base", 24, btftest.Member{Name: "shift", Type: "u32"}, btftest.Member{Name: "xtime_nsec", Offset: 8, Type: "u64"}).
		Struct("timekeeper", 80, btftest.Member{Name: "tkr_mono", Type: "tk_read_base"}, btftest.Member{Name: "xtime_sec", Offset: 24, Type: "u64"},
			btftest.Member{Name: "wall_to_monotonic", Offset: 32, Type: "timespec64"}, btftest.Member{Name: "offs_boot", Offset: 48, Type: "u64"})
	image = b.Bytes()
	return image, b.Module().Struct("llc_sock", 64).Bytes()
}

// newMachine has a kernel with a module llc2, which has its types.
func newMachine() *machine {
	m := &machine{memory: make([]byte, memorySize), is: elf.EM_X86_64}
	types, moduleTypes := testTypes()
	copy(m.memory[physBTF:], types)
	copy(m.memory[physModuleBTF:], moduleTypes)

	const table, large = 0x63, 0xe3 // present, written to; and a large page
	entry := func(phys, addr uint64, level int, v uint64) { m.put(phys+addr>>(12+9*level)%512*8, v) }
	entry(physTables, directAt, 3, physPUD|table)
	entry(physPUD, directAt, 2, physPMD|table)
	entry(physPMD, directAt, 1, 0|large)
	entry(physPMD, directAt+2<<20, 1, 2<<20|large)
	entry(physTables, vmallocAt, 3, physVPUD|table)
	entry(physVPUD, vmallocAt, 2, physVPMD|table)
	entry(physVPMD, vmallocAt, 1, physVPTE|table)
	entry(physVPTE, vmallocAt, 0, physVmalloc|table|1<<63)
	copy(m.memory[physVmalloc:], "by vmalloc")

	variables := []string{"page_offset_base", "linux_banner", "modules", "btf_modules", "shadow_timekeeper"}
	at := make(map[string]uint64)
	for i, name := range variables {
		at[name] = physVariables + uint64(i)*0x100
		m.symbols = append(m.symbols, testSymbol{'d', name, variable(i)})
	}
	m.put(at["page_offset_base"], directAt)
	copy(m.memory[at["linux_banner"]:], "Linux version "+release+" (gcc)\n\x00")
	m.put(at["shadow_timekeeper"], 8, 500<<28, 0, 1763840000) // shift 8, and half a second
	binary.LittleEndian.PutUint32(m.memory[at["shadow_timekeeper"]:], 8)
	m.put(at["shadow_timekeeper"]+8, 500_000_000<<8)
	boot := int64(-1763839900) // it has run for 100 seconds
	m.put(at["shadow_timekeeper"]+32, uint64(boot), 0, 20_000_000_000)

	// The lists: a head in the image, one struct.
	m.put(at["modules"], direct(physModule+8))
	m.put(physModule+8, variable(2))
	copy(m.memory[physModule+24:], "llc2\x00")
	m.put(physModule+88, direct(physModule+0x100))
	m.put(physModule+0x100, direct(physModule+0x200), 3, direct(physModule+0x300), direct(physModule+0x400))
	for i, s := range []struct{ name, section, value uint64 }{{0, 0, 0}, {1, 1, modulesAt}, {10, 0, modulesAt}} {
		m.put(physModule+0x200+24*uint64(i), s.name|s.section<<48, s.value)
	}
	copy(m.memory[physModule+0x300:], "\x00llc_bind\x00undefined\x00")
	copy(m.memory[physModule+0x400:], "?tU")
	m.put(at["btf_modules"], direct(physModuleText))
	m.put(physModuleText, variable(3), 0, direct(physModuleText+0x100))
	m.put(physModuleText+0x100, direct(physModuleBTF), uint64(len(moduleTypes)))
	copy(m.memory[physModuleText+0x110:], "llc2\x00")

	m.symbols = append(m.symbols,
		testSymbol{'T', "_text", imageAt}, testSymbol{'T', "_stext", imageAt}, testSymbol{'T', "dev_hold", imageAt + 0x100},
		testSymbol{'R', "__start_BTF", imageAt + physBTF - imagePhys}, testSymbol{'R', "__stop_BTF", imageAt + physBTF - imagePhys + uint64(len(types))},
		testSymbol{'D', "swapper_pg_dir", imageAt + physTables - imagePhys}, testSymbol{'D', "init_uts_ns", variable(9)},
		testSymbol{'B', "_end", imageAt + imageSize})
	m.info = map[string]string{
		"OSRELEASE": release, "NUMBER(phys_base)": fmt.Sprint(imagePhys - (imageAt - imageBase)),
		"NUMBER(pgtable_l5_enabled)": "0", "NUMBER(sme_mask)": "0", "KERNELOFFSET": fmt.Sprintf("%x", unmovedBy),
		"NUMBER(KERNEL_IMAGE_SIZE)": "1073741824",
	}
	for _, s := range m.symbols {
		switch s.name {
		case "_stext", "swapper_pg_dir", "init_uts_ns":
			m.info["SYMBOL("+s.name+")"] = fmt.Sprintf("%x", s.at)
		}
	}
	return m
}

// tell has the kernel tell its symbols in the dump.
func (m *machine) tell(e encoding) {
	parts := []string{"kallsyms_num_syms", "kallsyms_token_index", "kallsyms_token_table", "kallsyms_offsets", "kallsyms_names"}
	if e != fromPlace {
		parts = append(parts, "kallsyms_relative_base")
	}
	for _, part := range parts {
		m.info["SYMBOL("+part+")"] = fmt.Sprintf("%x", m.symbol(part))
	}
	if e == fromBaseBelow { // per-CPU memory has small addresses
		m.symbols = append(m.symbols, testSymbol{'A', "cpu_hot", 0x1c0})
	}
	le := binary.LittleEndian
	base := m.memory[physNames:]
	le.PutUint32(base, uint32(len(m.symbols)))
	le.PutUint64(base[m.place("kallsyms_relative_base"):], imageAt)
	// Each letter is a token, and 1 is one of several.
	table := base[m.place("kallsyms_token_table"):]
	at := 0
	for i := range tokens {
		le.PutUint16(base[m.place("kallsyms_token_index")+2*uint64(i):], uint16(at))
		token := string([]byte{byte(i)})
		if i == 1 {
			token = "stext"
		}
		at += copy(table[at:], token+"\x00")
	}
	names := base[m.place("kallsyms_names"):]
	for i, s := range m.symbols {
		entry := append([]byte{s.kind}, bytes.ReplaceAll([]byte(s.name), []byte("stext"), []byte{1})...)
		if s.name == "dev_hold" { // a length in two bytes
			names = names[copy(names, []byte{byte(len(entry)) | 0x80, 0}):]
		} else {
			names = names[copy(names, []byte{byte(len(entry))}):]
		}
		names = names[copy(names, entry):]
		place := m.place("kallsyms_offsets") + 4*uint64(i)
		number := s.at - imageAt
		switch {
		case e == fromPlace:
			number = s.at - (imageAt + physNames - imagePhys + place)
		case e == fromBaseBelow && s.at >= imageAt:
			number = uint64(int64(-1) - int64(s.at-imageAt))
		case e == fromBaseBelow:
			number = s.at
		}
		le.PutUint32(base[place:], uint32(number))
	}
}

// dump is the machine's memory as kdump saves it.
func (m *machine) dump(t testing.TB) *vmcore.Dump {
	t.Helper()
	var note bytes.Buffer
	for name, value := range m.info {
		fmt.Fprintf(&note, "%s=%s\n", name, value)
	}
	d, err := vmcore.Open(bytes.NewReader(m.file(note.Bytes())))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// file is an ELF core file of the memory, without the page that was left out.
func (m *machine) file(note []byte) []byte {
	le := binary.LittleEndian
	const header, program = 64, 56
	b := make([]byte, header+3*program)
	copy(b, elf.ELFMAG+"\x02\x01")
	le.PutUint16(b[16:], uint16(elf.ET_CORE))
	le.PutUint16(b[18:], uint16(m.is))
	le.PutUint64(b[32:], header)
	le.PutUint16(b[54:], program)
	le.PutUint16(b[56:], 3)
	add := func(i int, kind elf.ProgType, at uint64, data []byte, size uint64) {
		h := b[header+i*program:]
		le.PutUint32(h, uint32(kind))
		for j, v := range []uint64{uint64(len(b)), 0, at, uint64(len(data)), size} {
			le.PutUint64(h[8+8*j:], v)
		}
		b = append(b, data...)
	}
	head := le.AppendUint32(le.AppendUint32(le.AppendUint32(nil, 11), uint32(len(note))), 0)
	raw := append(append(head, "VMCOREINFO\x00\x00"...), note...)
	add(0, elf.PT_NOTE, 0, append(raw, 0, 0, 0), uint64(len(raw)+3))
	first := m.memory
	if m.leftOut != 0 {
		first = m.memory[:m.leftOut]
	}
	rest := uint64(len(first)) + vmcore.PageSize
	if m.leftOut == 0 {
		rest = memorySize
	}
	add(1, elf.PT_LOAD, 0, first, rest)
	add(2, elf.PT_LOAD, rest, m.memory[rest:], memorySize-rest)
	return b
}
