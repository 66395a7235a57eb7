// SPDX-License-Identifier: Apache-2.0

package structs

import "strings"

// LeafKind says what values a field can have, as far as that can be checked.
type LeafKind uint8

// The kinds of leaves.
const (
	Scalar    LeafKind = iota // numbers: anything goes
	StructPtr                 // pointer to a struct, which is Target
	FuncPtr
	CharPtr
	OtherPtr // to void, to a number, to a pointer
	ListHead
	HlistNode
	RefCount // refcount_t, kref, and counters that are called so
	Bool
	Enum     // of the constants of Target
	SpinLock // and other locks, of which little can be said
)

// Leaf is a field that is no struct of its own, or one that is checked as a whole.
type Leaf struct {
	Offset uint32
	Size   uint32
	Kind   LeafKind
	Target Type
}

// maxLeaves bounds what one struct is taken apart into; a net_device has some 400.
const maxLeaves = 2048

// Leaves takes a struct apart. Unions are left out, since which member is in use
// cannot be told; of arrays of structs only the first element is.
func (s *Set) Leaves(t Type) []Leaf {
	return s.leaves(nil, t, 0, newBudget())
}

func (s *Set) leaves(list []Leaf, t Type, at uint32, b *budget) []Leaf {
	defer b.leave()
	if !b.enter() {
		return list
	}
	for m := range s.members(t) {
		if len(list) >= maxLeaves {
			break
		}
		list = s.leaf(list, m, at+m.Offset, b)
	}
	return list
}

func (s *Set) leaf(list []Leaf, m member, at uint32, b *budget) []Leaf {
	bare := s.bare(m.Type)
	add := func(k LeafKind, target Type) []Leaf {
		return append(list, Leaf{at, m.Size, k, target})
	}
	if m.Bits > 0 {
		return list
	}
	switch s.kind(bare) {
	case kindPtr:
		return add(s.pointer(bare))
	case kindInt:
		if s.isNamed(m.Type, "bool") || s.Name(bare) == "_Bool" {
			return add(Bool, Type{})
		}
		return list
	case kindEnum:
		return add(Enum, bare)
	case kindArray:
		if element, n := s.array(bare); n > 0 {
			defer b.leave()
			if !b.enter() {
				return list
			}
			m.Type, m.Size = element, s.Size(element)
			return s.leaf(list, m, at, b)
		}
	case kindStruct:
		switch s.Name(bare) {
		case "list_head":
			return add(ListHead, Type{})
		case "hlist_node":
			return add(HlistNode, Type{})
		case "refcount_struct", "kref":
			return add(RefCount, Type{})
		case "spinlock", "raw_spinlock", "mutex", "qspinlock", "rw_semaphore":
			return add(SpinLock, Type{})
		case "": // an anonymous struct, such as atomic_t
			if s.isNamed(m.Type, "atomic_t") {
				if strings.Contains(m.name, "ref") || strings.Contains(m.name, "users") {
					return add(RefCount, Type{})
				}
				return list
			}
		}
		return s.leaves(list, bare, at, b)
	}
	return list
}

// isNamed reports whether a typedef of the name is on the way to the bare type.
func (s *Set) isNamed(t Type, name string) bool {
	for range maxChain {
		switch s.kind(t) {
		case kindTypedef:
			if s.Name(t) == name {
				return true
			}
		case kindVolatile, kindConst, kindRestrict, kindTypeTag:
		default:
			return false
		}
		t = s.make(t.unit, s.word(t))
	}
	return false
}

func (s *Set) pointer(t Type) (LeafKind, Type) {
	target := s.bare(s.make(t.unit, s.word(t)))
	switch s.kind(target) {
	case kindStruct:
		return StructPtr, target
	case kindFwd: // declared here, defined in a module or not at all
		if list := s.Structs(s.Name(target)); len(list) == 1 {
			return StructPtr, list[0]
		}
	case kindFuncProto:
		return FuncPtr, Type{}
	case kindInt:
		if s.Size(target) == 1 {
			return CharPtr, Type{}
		}
	}
	return OtherPtr, Type{}
}

// HasConstant reports whether an enum has a constant of this value.
func (s *Set) HasConstant(enum Type, value uint32) bool {
	raw := s.bytes(enum)
	n := 0
	if s.kind(enum) == kindEnum {
		n = int(uint16(raw[4]) | uint16(raw[5])<<8)
	}
	for i := range n {
		e := raw[typeSize+8*i+4:]
		if uint32(e[0])|uint32(e[1])<<8|uint32(e[2])<<16|uint32(e[3])<<24 == value {
			return true
		}
	}
	return false
}
