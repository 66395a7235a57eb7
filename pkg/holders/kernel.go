// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"errors"
	"fmt"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/holders/memory"
	"github.com/netns-trace/netns-trace/pkg/holders/structs"
	"github.com/netns-trace/netns-trace/pkg/kernel"
)

// Kernel is a kernel whose memory can be looked through.
type Kernel struct {
	memory  *memory.Memory
	types   *structs.Set
	symbols *kernel.Symbols
	fields  map[string]structs.Field // "struct.path" to where that is
	untyped []string                 // modules whose types are not known

	// What is worked out of the types once.
	pointers map[string][]structs.Site // to a struct of this name
	leaves   map[structs.Type][]structs.Leaf
	bits     map[string]int // of enum constants; -1: there is none
}

// NewKernel finds out how the memory of a kernel is laid out. symbols are its symbols
// and types its types.
func NewKernel(r memory.Reader, types *structs.Set, symbols *kernel.Symbols) (*Kernel, error) {
	k := &Kernel{
		types: types, symbols: symbols, fields: make(map[string]structs.Field),
		pointers: make(map[string][]structs.Site), leaves: make(map[structs.Type][]structs.Leaf), bits: make(map[string]int),
	}
	var err error
	k.memory, err = memory.New(r, types, k)
	return k, err
}

// Address implements [memory.Symbols].
func (k *Kernel) Address(variable string) (uint64, bool) {
	// 7.3 lists data of its image as text: its data lies between .text and .init.
	for _, list := range [][]kernel.Symbol{k.symbols.LookupData(variable), k.symbols.Lookup(variable)} {
		for _, s := range list {
			if s.Module == "" {
				return s.Addr, true
			}
		}
	}
	return 0, false
}

// field finds a field by "struct.path". That a kernel does not have it is not an error.
func (k *Kernel) field(path string) (structs.Field, bool) {
	f, known := k.fields[path]
	if !known {
		structName, rest, _ := strings.Cut(path, ".")
		var err error
		if f, err = k.types.Field(structName, rest); err != nil {
			f.Offset = absent
		}
		k.fields[path] = f
	}
	return f, f.Offset != absent
}

const absent = ^uint32(0)

// pointersTo is [structs.Set.PointersTo].
func (k *Kernel) pointersTo(name string) []structs.Site {
	list, known := k.pointers[name]
	if !known {
		list = k.types.PointersTo(name)
		k.pointers[name] = list
	}
	return list
}

// leavesOf is [structs.Set.Leaves].
func (k *Kernel) leavesOf(t structs.Type) []structs.Leaf {
	list, known := k.leaves[t]
	if !known {
		list = k.types.Leaves(t)
		k.leaves[t] = list
	}
	return list
}

// bit is the value of an enum constant that numbers a bit.
func (k *Kernel) bit(constant string) (int, bool) {
	n, known := k.bits[constant]
	if !known {
		n = -1
		if v, ok := k.types.AnyEnumValue(constant); ok && v < 64 {
			n = int(v)
		}
		k.bits[constant] = n
	}
	return n, n >= 0
}

// get reads a number or a pointer in the struct at addr; not ok when this kernel's
// struct has no such field or memory cannot be read.
func (k *Kernel) get(addr uint64, path string) (uint64, bool) {
	f, ok := k.field(path)
	if !ok || addr == 0 {
		return 0, false
	}
	v, err := k.memory.Value(addr, f)
	return v, err == nil
}

// at is the address of a field of the struct at addr.
func (k *Kernel) at(addr uint64, path string) (uint64, bool) {
	f, ok := k.field(path)
	return addr + uint64(f.Offset), ok && addr != 0
}

// text reads a char array in the struct at addr.
func (k *Kernel) text(addr uint64, path string) string {
	f, ok := k.field(path)
	const most = 256
	if !ok || f.Size > most {
		return ""
	}
	s, err := k.memory.Text(addr+uint64(f.Offset), int(f.Size))
	if err != nil {
		return ""
	}
	return s
}

// size is a struct's size, 0 when there is no such struct.
func (k *Kernel) size(name string) uint64 {
	t, ok := k.types.Struct(name)
	if !ok {
		return 0
	}
	return uint64(k.types.Size(t))
}

// ErrMissing says that this kernel does not tell what the search cannot do without.
var ErrMissing = errors.New("the kernel does not tell what the search needs")

// need checks that the kernel's types have fields.
func (k *Kernel) need(paths ...string) error {
	for _, p := range paths {
		if _, ok := k.field(p); !ok {
			return fmt.Errorf("%w: no field %s in its types", ErrMissing, p)
		}
	}
	return nil
}

// isText reports whether addr is the begin of a function of the kernel or of a module.
func (k *Kernel) isText(addr uint64) bool {
	f, ok := k.symbols.FunctionAt(addr)
	return ok && f.Start == addr
}

// symbol names an address of the kernel or of a module: "name" or "name+0x10".
func (k *Kernel) symbol(addr uint64) (name, module string, ok bool) {
	f, ok := k.symbols.Resolve(addr)
	if !ok {
		return "", "", false
	}
	if f.Offset == 0 {
		return f.Symbol, f.Module, true
	}
	return fmt.Sprintf("%s+%#x", f.Symbol, f.Offset), f.Module, true
}

// printable reports whether a name is one that people can read.
func printable(s string) bool {
	for _, r := range s {
		if r <= ' ' || r > '~' {
			return false
		}
	}
	return s != ""
}
