// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/refsite"
)

// moduleBase is where the text of a module file is taken to be: in the part of the
// address space that the kernel loads modules to.
const moduleBase = 0xffffffffc0000000

// object is a vmlinux or a module file: its code, as it lies in a running kernel,
// and the symbols of it. It is a [refsite.Text] and has [refsite.Symbols].
type object struct {
	file     *elf.File
	name     string
	sections []code
	// functions are in order of address.
	functions []refsite.Function
	byName    map[string][]refsite.Function
}

// code is one section of text with the address that it is given.
type code struct {
	index elf.SectionIndex
	addr  uint64
	bytes []byte
}

// place gives each section of a module's code an address; init text is far from
// the rest. A vmlinux has its addresses.
func place(file *elf.File) map[elf.SectionIndex]uint64 {
	addrs := map[elf.SectionIndex]uint64{}
	next, nextInit := uint64(moduleBase), uint64(moduleBase+1<<29)
	for i, s := range file.Sections {
		if s.Flags&elf.SHF_EXECINSTR == 0 || s.Type != elf.SHT_PROGBITS || s.Size == 0 {
			continue
		}
		if file.Type != elf.ET_REL {
			addrs[elf.SectionIndex(i)] = s.Addr
			continue
		}
		at := &next
		if strings.HasPrefix(s.Name, ".init") {
			at = &nextInit
		}
		align := max(s.Addralign, 1)
		addr := (*at + align - 1) / align * align
		addrs[elf.SectionIndex(i)] = addr
		*at = addr + s.Size
	}
	return addrs
}

// placeSymbols adds the addresses of their sections to the values of a module's
// symbols.
func placeSymbols(table []byte, addrs map[elf.SectionIndex]uint64) {
	le := binary.LittleEndian
	for ; len(table) >= elf.Sym64Size; table = table[elf.Sym64Size:] {
		if addr, ok := addrs[elf.SectionIndex(le.Uint16(table[6:]))]; ok {
			le.PutUint64(table[8:], le.Uint64(table[8:])+addr)
		}
	}
}

// openObject reads the text that stays in memory. Init text is left out: its
// memory is given away. The contents of a module are changed: its symbols are
// given addresses, so that the relocation of the debug information tells one
// section from another.
func openObject(data []byte, module string) (*object, error) {
	file, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	addrs := place(file)
	if table := file.SectionByType(elf.SHT_SYMTAB); file.Type == elf.ET_REL && table != nil {
		if table.Offset+table.Size > uint64(len(data)) {
			return nil, errors.New("the symbols are beyond the file's end")
		}
		placeSymbols(data[table.Offset:table.Offset+table.Size], addrs)
	}
	o := &object{file: file, name: module}
	for i, s := range file.Sections {
		addr, ok := addrs[elf.SectionIndex(i)]
		if !ok || strings.HasPrefix(s.Name, ".init") || module == "" && s.Name != ".text" {
			continue
		}
		c := code{index: elf.SectionIndex(i), addr: addr}
		if c.bytes, err = s.Data(); err != nil {
			return nil, fmt.Errorf("reading %s: %w", s.Name, err)
		}
		o.sections = append(o.sections, c)
	}
	symbols, err := file.Symbols()
	if err != nil {
		return nil, fmt.Errorf("reading symbols: %w", err)
	}
	o.addFunctions(symbols)
	if file.Type == elf.ET_REL {
		return o, o.relocate(symbols)
	}
	return o, nil
}

func (o *object) section(index elf.SectionIndex) *code {
	for i := range o.sections {
		if o.sections[i].index == index {
			return &o.sections[i]
		}
	}
	return nil
}

// addFunctions takes a function to reach to the next symbol, as kallsyms shows it.
func (o *object) addFunctions(symbols []elf.Symbol) {
	for _, s := range symbols {
		c := o.section(s.Section)
		kind := elf.ST_TYPE(s.Info)
		if c == nil || s.Name == "" || kind != elf.STT_FUNC && kind != elf.STT_NOTYPE {
			continue
		}
		f := refsite.Function{Name: s.Name, Start: s.Value, End: c.addr + uint64(len(c.bytes)), Module: o.name}
		if f.Start < f.End {
			o.functions = append(o.functions, f)
		}
	}
	slices.SortStableFunc(o.functions, func(a, b refsite.Function) int { return cmp.Compare(a.Start, b.Start) })
	o.functions = slices.CompactFunc(o.functions, func(a, b refsite.Function) bool { return a.Start == b.Start })
	for i := range o.functions {
		if i+1 < len(o.functions) {
			o.functions[i].End = min(o.functions[i].End, o.functions[i+1].Start)
		} else {
			o.functions[i].Last = true
		}
	}
	o.byName = make(map[string][]refsite.Function, len(o.functions))
	for _, f := range o.functions {
		o.byName[f.Name] = append(o.byName[f.Name], f)
	}
}

// relocate fills in where the calls and jumps of a module go. What is in another
// section or another module is given a place far away.
func (o *object) relocate(symbols []elf.Symbol) error {
	for _, table := range o.file.Sections {
		c := o.section(elf.SectionIndex(table.Info))
		if table.Type != elf.SHT_RELA || c == nil {
			continue
		}
		data, err := table.Data()
		if err != nil {
			return fmt.Errorf("reading %s: %w", table.Name, err)
		}
		le := binary.LittleEndian
		for ; len(data) >= 24; data = data[24:] {
			at, info, addend := le.Uint64(data), le.Uint64(data[8:]), int64(le.Uint64(data[16:]))
			kind := elf.R_X86_64(info & 0xffffffff)
			number := int(info >> 32)
			if kind != elf.R_X86_64_PLT32 && kind != elf.R_X86_64_PC32 ||
				number < 1 || number > len(symbols) || at+4 > uint64(len(c.bytes)) {
				continue
			}
			target := int64(c.addr) - 1<<28
			if to := o.section(symbols[number-1].Section); to != nil {
				target = int64(symbols[number-1].Value)
			}
			le.PutUint32(c.bytes[at:], uint32(target+addend-int64(c.addr+at)))
		}
	}
	return nil
}

// ReadText implements [refsite.Text].
func (o *object) ReadText(b []byte, addr uint64) error {
	for _, c := range o.sections {
		if addr >= c.addr && addr+uint64(len(b)) <= c.addr+uint64(len(c.bytes)) {
			copy(b, c.bytes[addr-c.addr:])
			return nil
		}
	}
	return fmt.Errorf("%s has no text at %#x", o.name, addr)
}

// ranges returns where the text is.
func (o *object) ranges() []refsite.Range {
	var list []refsite.Range
	for _, c := range o.sections {
		list = append(list, refsite.Range{Start: c.addr, End: c.addr + uint64(len(c.bytes))})
	}
	return list
}

// FunctionAt implements [refsite.Symbols].
func (o *object) FunctionAt(addr uint64) (refsite.Function, bool) {
	i, found := slices.BinarySearchFunc(o.functions, addr, func(f refsite.Function, addr uint64) int {
		return cmp.Compare(f.Start, addr)
	})
	if !found {
		i--
	}
	if i < 0 || addr >= o.functions[i].End {
		return refsite.Function{}, false
	}
	return o.functions[i], true
}

// FunctionsNamed implements [refsite.Symbols].
// StaticBranchInto is about where probes may be, which is not looked at here.
func (o *object) StaticBranchInto(string, uint64, uint64) bool { return true }

func (o *object) FunctionsNamed(name, _ string) []refsite.Function { return o.byName[name] }
