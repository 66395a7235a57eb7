// SPDX-License-Identifier: Apache-2.0

package structs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const btfDir = "/sys/kernel/btf"

// Set is the types of a kernel and of its modules. It is immutable once filled.
type Set struct {
	blobs  []*blob // the kernel image's first
	byName map[string][]Type
}

// Type is one type of a Set. The zero Type is void.
type Type struct{ unit, id uint32 }

// Load reads the types of the running kernel and of the modules that are loaded. A
// module whose types cannot be read is left out.
func Load() (*Set, error) {
	raw, err := os.ReadFile(filepath.Join(btfDir, "vmlinux"))
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's types: %w", err)
	}
	s, err := New(raw)
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's types: %w", err)
	}
	entries, err := os.ReadDir(btfDir)
	if err != nil {
		return nil, fmt.Errorf("listing the modules' types: %w", err)
	}
	for _, e := range entries {
		if e.Name() == "vmlinux" {
			continue
		}
		// It may have been unloaded meanwhile; what has no types here is told as such.
		if raw, err := os.ReadFile(filepath.Join(btfDir, e.Name())); err == nil {
			_ = s.Add(e.Name(), raw)
		}
	}
	return s, nil
}

// New makes a Set of the BTF of a kernel image, whose bytes it keeps.
func New(vmlinux []byte) (*Set, error) {
	b, err := parseBlob("", vmlinux, nil)
	if err != nil {
		return nil, err
	}
	s := &Set{byName: make(map[string][]Type)}
	s.add(b)
	return s, nil
}

// Add adds a module's BTF, which refers to that of the kernel image.
func (s *Set) Add(module string, raw []byte) error {
	b, err := parseBlob(module, raw, s.blobs[0])
	if err != nil {
		return err
	}
	s.add(b)
	return nil
}

func (s *Set) add(b *blob) {
	unit := uint32(len(s.blobs))
	s.blobs = append(s.blobs, b)
	for i := range b.index {
		t := Type{unit, b.firstID + uint32(i)}
		switch s.kind(t) {
		case kindStruct, kindUnion, kindEnum, kindEnum64:
			if name := s.Name(t); name != "" {
				s.byName[name] = append(s.byName[name], t)
			}
		}
	}
}

// Modules are the modules whose types are there.
func (s *Set) Modules() []string {
	var names []string
	for _, b := range s.blobs[1:] {
		names = append(names, b.name)
	}
	return names
}

// Module is the module that a type was defined in, "" for the kernel image.
func (s *Set) Module(t Type) string { return s.blobs[t.unit].name }

// make gives a type that a type of the unit refers to: a small number is the kernel
// image's.
func (s *Set) make(unit, id uint32) Type {
	if unit != 0 && id < s.blobs[unit].firstID {
		unit = 0
	}
	return Type{unit, id}
}

// bytes is a type as it lies in BTF; nil for void and for numbers that are none.
func (s *Set) bytes(t Type) []byte {
	b := s.blobs[t.unit]
	i := t.id - b.firstID
	if t.id < b.firstID || i >= uint32(len(b.index)) {
		return nil
	}
	return b.types[b.index[i]:]
}

func (s *Set) kind(t Type) uint32 {
	raw := s.bytes(t)
	if raw == nil {
		return 0
	}
	return binary.LittleEndian.Uint32(raw[4:]) >> 24 & 0x1f
}

// word is the third word of a type: its size, or the type that it refers to.
func (s *Set) word(t Type) uint32 {
	raw := s.bytes(t)
	if raw == nil {
		return 0
	}
	return binary.LittleEndian.Uint32(raw[8:])
}

// Name is a type's name, "" when it has none.
func (s *Set) Name(t Type) string {
	raw := s.bytes(t)
	if raw == nil {
		return ""
	}
	return string(s.blobs[t.unit].text(s.blobs[0], binary.LittleEndian.Uint32(raw)))
}

// maxChain bounds a walk from type to type: BTF from elsewhere may go in circles.
const maxChain = 32

// budget bounds a walk into a struct: in BTF from elsewhere a struct may contain itself,
// several times.
type budget struct{ depth, visits int }

func newBudget() *budget { return &budget{maxChain, 1 << 14} }

// enter takes one step down; leave must follow, also if there is no step left.
func (b *budget) enter() bool {
	b.depth--
	b.visits--
	return b.depth >= 0 && b.visits >= 0
}

func (b *budget) leave() { b.depth++ }

// bare takes typedefs, const and the like off a type.
func (s *Set) bare(t Type) Type {
	for range maxChain {
		switch s.kind(t) {
		case kindTypedef, kindVolatile, kindConst, kindRestrict, kindTypeTag:
			t = s.make(t.unit, s.word(t))
		default:
			return t
		}
	}
	return Type{}
}

// Size is what a value of the type takes, in bytes.
func (s *Set) Size(t Type) uint32 {
	many := uint64(1)
	for range maxChain {
		t = s.bare(t)
		switch s.kind(t) {
		case kindArray:
			element, n := s.array(t)
			if many *= uint64(n); many >= 1<<31 {
				return 0
			}
			t = element
			continue
		case kindPtr:
			many *= 8
		case kindInt, kindStruct, kindUnion, kindEnum, kindEnum64, kindFloat:
			many *= uint64(s.word(t))
		default:
			return 0
		}
		if many >= 1<<31 {
			return 0
		}
		return uint32(many)
	}
	return 0
}

// array is an array's element type and length.
func (s *Set) array(t Type) (Type, uint32) {
	raw := s.bytes(t)
	if len(raw) < typeSize+12 {
		return Type{}, 0
	}
	le := binary.LittleEndian
	return s.make(t.unit, le.Uint32(raw[typeSize:])), le.Uint32(raw[typeSize+8:])
}

// Structs returns the structs and unions of a name: several when files differ.
func (s *Set) Structs(name string) []Type {
	var list []Type
	for _, t := range s.byName[name] {
		if k := s.kind(t); k == kindStruct || k == kindUnion {
			list = append(list, t)
		}
	}
	return list
}

// Struct returns the struct of a name, the kernel image's rather than a module's.
func (s *Set) Struct(name string) (Type, bool) {
	list := s.Structs(name)
	if len(list) == 0 {
		return Type{}, false
	}
	return list[0], true
}

// All calls yield with every struct.
func (s *Set) All(yield func(Type) bool) {
	for unit, b := range s.blobs {
		for i := range b.index {
			t := Type{uint32(unit), b.firstID + uint32(i)}
			if s.kind(t) == kindStruct && !yield(t) {
				return
			}
		}
	}
}

// EnumValue is the value of a constant of an enum.
func (s *Set) EnumValue(enum, constant string) (uint32, bool) {
	for _, t := range s.byName[enum] {
		if v, ok := s.enumValue(t, constant); ok {
			return v, true
		}
	}
	return 0, false
}

// AnyEnumValue is the value of a constant of whatever enum has it: some have no name.
func (s *Set) AnyEnumValue(constant string) (uint32, bool) {
	for unit, b := range s.blobs {
		for i := range b.index {
			if v, ok := s.enumValue(Type{uint32(unit), b.firstID + uint32(i)}, constant); ok {
				return v, true
			}
		}
	}
	return 0, false
}

func (s *Set) enumValue(t Type, constant string) (uint32, bool) {
	if s.kind(t) != kindEnum {
		return 0, false
	}
	raw := s.bytes(t)
	le := binary.LittleEndian
	n := int(le.Uint32(raw[4:]) & 0xffff)
	for i := range n {
		entry := raw[typeSize+8*i:]
		if string(s.blobs[t.unit].text(s.blobs[0], le.Uint32(entry))) == constant {
			return le.Uint32(entry[4:]), true
		}
	}
	return 0, false
}

// Field is where a member of a struct lies.
type Field struct {
	Offset uint32 // bytes from the struct's begin
	Size   uint32 // bytes; of a bit field those that it touches
	Shift  uint8  // of a bit field: its first bit
	Bits   uint8  // of a bit field: how many; 0: it is none
	Type   Type
}

// ErrNoField says that a struct or a member of it is not among the kernel's types.
var ErrNoField = errors.New("not among the kernel's types")

// Field finds a member: path is names with dots between. Anonymous structs and unions
// are looked into. Returns an error wrapping [ErrNoField] when there is none.
func (s *Set) Field(structName, path string) (Field, error) {
	for _, t := range s.Structs(structName) {
		if f, ok := s.FieldOf(t, path); ok {
			return f, nil
		}
	}
	return Field{}, fmt.Errorf("%s.%s: %w", structName, path, ErrNoField)
}

// FieldOf finds a member of a struct as [Set.Field] does.
func (s *Set) FieldOf(t Type, path string) (Field, bool) {
	f := Field{Type: t}
	b := newBudget()
	for name := range strings.SplitSeq(path, ".") {
		inner, ok := s.member(s.bare(f.Type), name, b)
		if !ok {
			return Field{}, false
		}
		inner.Offset += f.Offset
		f = inner
	}
	return f, true
}

func (s *Set) member(t Type, name string, b *budget) (Field, bool) {
	defer b.leave()
	if !b.enter() {
		return Field{}, false
	}
	for m := range s.members(t) {
		if m.name != "" {
			if m.name == name {
				return m.Field, true
			}
			continue
		}
		if inner, ok := s.member(s.bare(m.Type), name, b); ok {
			inner.Offset += m.Offset
			return inner, true
		}
	}
	return Field{}, false
}

type member struct {
	Field
	name string
}

// members calls yield with each member of a struct or union.
func (s *Set) members(t Type) func(yield func(member) bool) {
	return func(yield func(member) bool) {
		if k := s.kind(t); k != kindStruct && k != kindUnion {
			return
		}
		raw := s.bytes(t)
		le := binary.LittleEndian
		info := le.Uint32(raw[4:])
		b := s.blobs[t.unit]
		for i := range int(info & 0xffff) {
			entry := raw[typeSize+12*i:]
			m := member{name: string(b.text(s.blobs[0], le.Uint32(entry)))}
			m.Type = s.make(t.unit, le.Uint32(entry[4:]))
			at := le.Uint32(entry[8:])
			if info>>31 == 1 { // bit fields are marked
				m.Bits = uint8(at >> 24)
				at &= 1<<24 - 1
			}
			m.Offset, m.Shift = at/8, uint8(at%8)
			m.Size = s.Size(m.Type)
			if m.Bits > 0 {
				m.Size = (uint32(m.Shift) + uint32(m.Bits) + 7) / 8
			}
			if !yield(m) {
				return
			}
		}
	}
}

// HasMemberOf reports whether a struct has a member of a type of this name, also one
// in an anonymous struct or union.
func (s *Set) HasMemberOf(t Type, typeName string) bool {
	return s.hasMemberOf(t, typeName, newBudget())
}

func (s *Set) hasMemberOf(t Type, typeName string, b *budget) bool {
	defer b.leave()
	if !b.enter() {
		return false
	}
	for m := range s.members(t) {
		bare := s.bare(m.Type)
		if s.isNamed(m.Type, typeName) || s.Name(bare) == typeName {
			return true
		}
		if m.name == "" && s.hasMemberOf(bare, typeName, b) {
			return true
		}
	}
	return false
}
