// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
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
}

// code is one section of text with the address that it is given.
type code struct {
	index elf.SectionIndex
	addr  uint64
	bytes []byte
}

// openObject reads the text that stays in memory. Init text is left out: its
// memory is given away.
func openObject(r io.ReaderAt, module string) (*object, error) {
	file, err := elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	o := &object{file: file, name: module}
	next := uint64(moduleBase)
	for i, s := range file.Sections {
		if s.Flags&elf.SHF_EXECINSTR == 0 || s.Type != elf.SHT_PROGBITS || s.Size == 0 ||
			strings.HasPrefix(s.Name, ".init") || module == "" && s.Name != ".text" {
			continue
		}
		c := code{index: elf.SectionIndex(i), addr: s.Addr}
		if c.bytes, err = s.Data(); err != nil {
			return nil, fmt.Errorf("reading %s: %w", s.Name, err)
		}
		if module != "" {
			align := max(s.Addralign, 1)
			c.addr = (next + align - 1) / align * align
			next = c.addr + s.Size
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
		start := s.Value
		if o.file.Type == elf.ET_REL {
			start += c.addr
		}
		f := refsite.Function{Name: s.Name, Start: start, End: c.addr + uint64(len(c.bytes)), Module: o.name}
		if start < f.End {
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
				target = int64(to.addr + symbols[number-1].Value)
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
func (o *object) FunctionsNamed(name, _ string) []refsite.Function {
	var list []refsite.Function
	for _, f := range o.functions {
		if f.Name == name {
			list = append(list, f)
		}
	}
	return list
}
