// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/netns-trace/netns-trace/pkg/kernel"
)

// vmlinux is an ELF file with sections for text, data and what is zero, and symbols.
func vmlinux(t *testing.T, symbols []testSymbol) []byte {
	t.Helper()
	sections := map[byte]uint16{'t': 1, 'd': 2, 'b': 3, 'r': 4, 'a': uint16(elf.SHN_ABS)}
	names := []byte{0}
	table := []elf.Sym64{{}}
	for _, s := range symbols {
		bind := elf.STB_LOCAL
		kind := s.kind
		if kind >= 'A' && kind <= 'Z' {
			bind, kind = elf.STB_GLOBAL, kind+'a'-'A'
		}
		table = append(table, elf.Sym64{Name: uint32(len(names)), Info: elf.ST_INFO(bind, elf.STT_OBJECT), Shndx: sections[kind], Value: s.at})
		names = append(append(names, s.name...), 0)
	}
	table = append(table, elf.Sym64{Name: 1, Info: elf.ST_INFO(elf.STB_LOCAL, elf.STT_FILE), Shndx: uint16(elf.SHN_ABS)})
	var symtab, b bytes.Buffer
	write := func(to *bytes.Buffer, v any) {
		if err := binary.Write(to, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	write(&symtab, table)
	const header = 64
	h := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Ehsize: header, Shentsize: header,
		Shnum: 7, Shstrndx: 6, Shoff: uint64(header + symtab.Len() + len(names)),
	}
	copy(h.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	write(&b, h)
	b.Write(symtab.Bytes())
	b.Write(names)
	alloc, code, write1 := uint64(elf.SHF_ALLOC), uint64(elf.SHF_EXECINSTR), uint64(elf.SHF_WRITE)
	write(&b, []elf.Section64{
		{},
		{Type: uint32(elf.SHT_PROGBITS), Flags: alloc | code},
		{Type: uint32(elf.SHT_PROGBITS), Flags: alloc | write1},
		{Type: uint32(elf.SHT_NOBITS), Flags: alloc | write1},
		{Type: uint32(elf.SHT_PROGBITS), Flags: alloc},
		{Type: uint32(elf.SHT_SYMTAB), Off: header, Size: uint64(symtab.Len()), Link: 6, Entsize: 24},
		{Type: uint32(elf.SHT_STRTAB), Off: uint64(header + symtab.Len()), Size: uint64(len(names))},
	})
	return b.Bytes()
}

func TestOpenWithVmlinux(t *testing.T) {
	m := newMachine()
	var linked []testSymbol
	for _, s := range append(m.symbols, testSymbol{'a', "cpu_hot", 0x1c0}, testSymbol{'r', "constant", imageAt + 0x200}) {
		if s.at >= imageBase {
			s.at -= unmovedBy
		}
		linked = append(linked, s)
	}
	path := filepath.Join(t.TempDir(), "vmlinux")
	if err := os.WriteFile(path, vmlinux(t, linked), 0o644); err != nil {
		t.Fatal(err)
	}
	k, err := Open(t.Context(), m.dump(t), path)
	if err != nil {
		t.Fatal(err)
	}
	wantKernel(t, k)
	wantSymbol(t, k, kernel.Symbol{Name: "cpu_hot", Addr: 0x1c0, Type: 'a'})
	wantSymbol(t, k, kernel.Symbol{Name: "constant", Addr: imageAt + 0x200, Type: 'r'})
	wantSymbol(t, k, kernel.Symbol{Name: "_end", Addr: imageAt + imageSize, Type: 'B'})

	if err := os.WriteFile(path, vmlinux(t, nil)[:200], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), m.dump(t), path); err == nil {
		t.Error("a vmlinux that was cut off is no error")
	}
}
