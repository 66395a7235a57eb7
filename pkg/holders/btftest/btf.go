// SPDX-License-Identifier: Apache-2.0

// Package btftest makes BTF for tests: the types of a kernel that does not exist.
package btftest

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Member is a member of a struct.
type Member struct {
	Name string
	// Offset is in bytes, and Bit added to it. Bits are those of a bit field.
	Offset, Bit, Bits uint32
	// Type is u8, u16, u32, u64, bool; fn, void* or char*; a struct's name, or *NAME for
	// a pointer to one; [N]TYPE for an array.
	Type string
}

// Builder collects types. Its zero value is not usable: see [New].
type Builder struct {
	types   []byte
	strings []byte
	ids     map[string]uint32
	next    uint32
	base    *Builder
}

// New returns a builder for the types of a kernel image.
func New() *Builder {
	b := &Builder{strings: []byte{0}, ids: make(map[string]uint32), next: 1}
	b.integer("u8", 1, 0)
	b.integer("u16", 2, 0)
	b.integer("u32", 4, 0)
	b.integer("u64", 8, 0)
	b.integer("bool", 1, 4)
	return b
}

// Module returns a builder for the types of a module on top of b, which must not
// change any more.
func (b *Builder) Module() *Builder {
	return &Builder{ids: make(map[string]uint32), next: b.next, base: b}
}

func (b *Builder) text(s string) uint32 {
	if s == "" {
		return 0
	}
	at := len(b.strings)
	if b.base != nil {
		at += len(b.base.strings)
	}
	b.strings = append(append(b.strings, s...), 0)
	return uint32(at)
}

func (b *Builder) put(name string, words ...uint32) uint32 {
	for _, w := range words {
		b.types = binary.LittleEndian.AppendUint32(b.types, w)
	}
	id := b.next
	b.next++
	if name != "" {
		b.ids[name] = id
	}
	return id
}

const (
	kindInt       = 1 << 24
	kindPtr       = 2 << 24
	kindArray     = 3 << 24
	kindStruct    = 4 << 24
	kindUnion     = 5 << 24
	kindEnum      = 6 << 24
	kindFwd       = 7 << 24
	kindFuncProto = 13 << 24
	bitFields     = 1 << 31
)

func (b *Builder) integer(name string, size, encoding uint32) {
	label := name
	if name == "bool" {
		label = "_Bool"
	}
	b.put(name, b.text(label), kindInt, size, encoding<<24|size*8)
}

// Struct adds a struct.
func (b *Builder) Struct(name string, size uint32, members ...Member) *Builder {
	return b.composite(kindStruct, name, size, members)
}

// Union adds a union.
func (b *Builder) Union(name string, size uint32, members ...Member) *Builder {
	return b.composite(kindUnion, name, size, members)
}

func (b *Builder) composite(kind uint32, name string, size uint32, members []Member) *Builder {
	label := name
	if strings.HasPrefix(name, "anon:") { // a name to refer to it by
		label = ""
	}
	words := []uint32{b.text(label), kind | bitFields | uint32(len(members)), size}
	for _, m := range members {
		words = append(words, b.text(m.Name), b.id(m.Type), m.Bits<<24|m.Offset*8+m.Bit)
	}
	b.put(name, words...)
	return b
}

// Enum adds an enum of constants, by name and value.
func (b *Builder) Enum(name string, constants ...any) *Builder {
	words := []uint32{b.text(name), kindEnum | uint32(len(constants)/2), 4}
	for i := 0; i < len(constants); i += 2 {
		words = append(words, b.text(constants[i].(string)), uint32(constants[i+1].(int)))
	}
	b.put(name, words...)
	return b
}

// id finds a type, or makes it.
func (b *Builder) id(name string) uint32 {
	for at := b; at != nil; at = at.base {
		if id, ok := at.ids[name]; ok {
			return id
		}
	}
	switch {
	case name == "void":
		return 0
	case name == "fn":
		proto := b.put("", 0, kindFuncProto, 0)
		return b.put("fn", 0, kindPtr, proto)
	case name == "char*":
		return b.put(name, 0, kindPtr, b.id("u8"))
	case name == "void*":
		return b.put(name, 0, kindPtr, 0)
	case name[0] == '*':
		return b.put(name, 0, kindPtr, b.id("forward "+name[1:]))
	case strings.HasPrefix(name, "forward "):
		target := strings.TrimPrefix(name, "forward ")
		for at := b; at != nil; at = at.base {
			if id, ok := at.ids[target]; ok {
				return id
			}
		}
		return b.put(name, b.text(target), kindFwd, 0)
	case name[0] == '[':
		n, element, _ := strings.Cut(name[1:], "]")
		count, err := strconv.Atoi(n)
		if err != nil {
			panic(fmt.Sprintf("btftest: %q is no array", name))
		}
		return b.put(name, 0, kindArray, 0, b.id(element), b.id("u32"), uint32(count))
	}
	panic(fmt.Sprintf("btftest: no type %q", name))
}

// Bytes is what the kernel would show below /sys/kernel/btf.
func (b *Builder) Bytes() []byte {
	le := binary.LittleEndian
	const header = 24
	raw := make([]byte, header, header+len(b.types)+len(b.strings))
	le.PutUint16(raw, 0xeb9f)
	raw[2] = 1
	le.PutUint32(raw[4:], header)
	le.PutUint32(raw[12:], uint32(len(b.types)))
	le.PutUint32(raw[16:], uint32(len(b.types)))
	le.PutUint32(raw[20:], uint32(len(b.strings)))
	return append(append(raw, b.types...), b.strings...)
}
