// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/netns-trace/netns-trace/pkg/holders/structs"
	"github.com/netns-trace/netns-trace/pkg/kernel"
)

const (
	maxModules    = 1 << 12
	maxModuleName = 56      // MODULE_NAME_LEN of x86-64
	maxSymtab     = 1 << 22 // of all modules together
	maxSymbolName = 512
	// maxTypes bounds the BTF of the image, and that of all modules together.
	maxTypes = 256 << 20
)

// findTypes reads the image's BTF.
func (o *opener) findTypes() error {
	begin, okBegin := o.address("__start_BTF")
	end, okEnd := o.address("__stop_BTF")
	if !okBegin || !okEnd || end <= begin {
		return fmt.Errorf("%w: the kernel has no description of its types (BTF)", ErrNotUnderstood)
	}
	raw, err := o.bytes(begin, end-begin)
	if err != nil {
		return fmt.Errorf("reading the kernel's types: %w", err)
	}
	if o.Types, err = structs.New(raw); err != nil {
		return fmt.Errorf("reading the kernel's types: %w", err)
	}
	return nil
}

// bytes reads so many, without believing beforehand that there are so many.
func (o *opener) bytes(at, size uint64) ([]byte, error) {
	if size > maxTypes {
		return nil, fmt.Errorf("%w: %d bytes of types", ErrNotUnderstood, size)
	}
	const step = 1 << 20
	var raw []byte
	for uint64(len(raw)) < size {
		n := min(step, size-uint64(len(raw)))
		chunk := make([]byte, n)
		if err := o.space.Read(chunk, at+uint64(len(raw))); err != nil {
			return nil, err
		}
		raw = append(raw, chunk...)
	}
	return raw, nil
}

// findModules adds the symbols and types of modules, as far as they were saved.
func (o *opener) findModules() error {
	whole := o.findModuleTypes()
	var modules []kernelModule
	wholeList := o.eachInList("modules", "module", func(at uint64) {
		m, err := o.module(at)
		if err != nil {
			whole = false
			return
		}
		modules = append(modules, m)
	})
	o.ModulesMissing = !whole || !wholeList
	all, err := kernel.NewSymbols(func(yield func(kernel.Symbol) bool) {
		for s := range o.Symbols.All() {
			if !yield(s) {
				return
			}
		}
		left := uint64(maxSymtab)
		for i := range modules {
			m := &modules[i]
			m.count = min(m.count, left)
			left -= m.count
			if !o.symbolsOf(m, yield) {
				return
			}
		}
	})
	if err != nil {
		return fmt.Errorf("reading the symbols of modules: %w", err)
	}
	o.Symbols = all
	return nil
}

// eachInList calls see with each struct on a list, whose head is a variable; the struct
// has its place on it in a field called list. It reports whether it came to the end.
func (o *opener) eachInList(variable, structName string, see func(at uint64)) (whole bool) {
	head, ok := o.address(variable)
	f, err := o.Types.Field(structName, "list")
	if !ok || err != nil {
		return true // a kernel without modules, or without their types
	}
	at, err := uint64At(o.space.Read, head)
	for n := 0; err == nil && at != head && n < maxModules; n++ {
		see(at - uint64(f.Offset))
		at, err = uint64At(o.space.Read, at)
	}
	return err == nil && at == head
}

// findModuleTypes reads the BTF of modules, and reports whether all of it was there.
func (o *opener) findModuleTypes() (whole bool) {
	left := uint64(maxTypes)
	whole = true
	wholeList := o.eachInList("btf_modules", "btf_module", func(at uint64) {
		used, err := o.addModuleTypes(at, left)
		left -= used
		whole = whole && err == nil
	})
	return whole && wholeList
}

// addModuleTypes reads the BTF of a module, if there are not too many bytes of it.
func (o *opener) addModuleTypes(at, most uint64) (used uint64, err error) {
	btf, err := o.field(at, "btf_module", "btf")
	if err != nil {
		return 0, err
	}
	data, errData := o.field(btf, "btf", "data")
	size, errSize := o.field(btf, "btf", "data_size")
	name, errName := o.text(btf, "btf", "name")
	if err := errors.Join(errData, errSize, errName); err != nil || size > most {
		return 0, err
	}
	raw, err := o.bytes(data, size)
	if err != nil {
		return 0, err
	}
	return size, o.Types.Add(name, raw)
}

// text reads a name that a struct has in itself.
func (o *opener) text(at uint64, structName, path string) (string, error) {
	f, err := o.Types.Field(structName, path)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotUnderstood, err)
	}
	return readText(o.space.Read, at+uint64(f.Offset), min(int(f.Size), maxModuleName+8))
}

// kernelModule is a module and where its symbols are.
type kernelModule struct {
	name                   string
	count                  uint64
	symtab, strtab, typtab uint64
}

func (o *opener) module(at uint64) (kernelModule, error) {
	name, err := o.text(at, "module", "name")
	m := kernelModule{name: name}
	if err != nil {
		return m, err
	}
	table, err := o.field(at, "module", "kallsyms")
	if err != nil || table == 0 {
		return m, fmt.Errorf("%w: module %s has no symbols", ErrNotUnderstood, name)
	}
	for path, to := range map[string]*uint64{
		"symtab": &m.symtab, "num_symtab": &m.count, "strtab": &m.strtab, "typetab": &m.typtab,
	} {
		if *to, err = o.field(table, "mod_kallsyms", path); err != nil {
			return m, err
		}
	}
	return m, nil
}

// symbolsOf yields a module's symbols, as far as they can be read. It returns false when
// no more are wanted.
func (o *opener) symbolsOf(m *kernelModule, yield func(kernel.Symbol) bool) bool {
	entries := bufio.NewReader(&stream{o.space.Read, m.symtab})
	types := bufio.NewReader(&stream{o.space.Read, m.typtab})
	le := binary.LittleEndian
	for range m.count {
		var entry [24]byte
		_, err := io.ReadFull(entries, entry[:])
		kind, errType := types.ReadByte()
		if err != nil || errType != nil {
			return true
		}
		name, err := readText(o.space.Read, m.strtab+uint64(le.Uint32(entry[:])), maxSymbolName)
		undefined := le.Uint16(entry[6:]) == 0
		if err != nil || name == "" || undefined || kind <= ' ' || kind > '~' {
			continue
		}
		if !yield(kernel.Symbol{Name: name, Addr: le.Uint64(entry[8:]), Module: m.name, Type: kind}) {
			return false
		}
	}
	return true
}
