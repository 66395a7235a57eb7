// SPDX-License-Identifier: Apache-2.0

package structs

import "strings"

// Site is a place in a struct where a pointer to another can be.
type Site struct {
	Type   Type
	Offset uint32
	// Stride and Count are of the array that the place is in: the next is Stride
	// bytes on. Count 0 is an array without a given length at the struct's end.
	Stride, Count uint32
}

// At reports whether a pointer at the offset is at this site, in an object of size
// bytes.
func (p Site) At(offset, size uint32) bool {
	if offset < p.Offset || offset+8 > size {
		return false
	}
	distance := offset - p.Offset
	switch {
	case p.Stride == 0:
		return distance == 0
	case distance%p.Stride != 0:
		return false
	}
	return p.Count == 0 || distance/p.Stride < p.Count
}

// PointersTo finds every struct with a pointer to the struct of this name, itself or
// in a struct within it.
func (s *Set) PointersTo(name string) []Site {
	f := finder{set: s, target: name, has: make(map[Type]bool)}
	var list []Site
	for t := range s.All {
		if f.contains(t, 0) {
			list = f.sites(list, t, t, Site{Type: t}, 0)
		}
	}
	return list
}

type finder struct {
	set    *Set
	target string
	has    map[Type]bool
}

// contains reports whether a value of the type has such a pointer in it.
func (f *finder) contains(t Type, depth int) bool {
	t = f.set.bare(t)
	switch f.set.kind(t) {
	case kindPtr:
		target := f.set.bare(f.set.make(t.unit, f.set.word(t)))
		k := f.set.kind(target)
		return (k == kindStruct || k == kindFwd) && f.set.Name(target) == f.target
	case kindArray:
		element, _ := f.set.array(t)
		return depth < maxChain && f.contains(element, depth+1)
	case kindStruct, kindUnion:
	default:
		return false
	}
	if has, known := f.has[t]; known {
		return has
	}
	if depth > maxChain {
		return false
	}
	f.has[t] = false
	for m := range f.set.members(t) {
		if f.contains(m.Type, depth+1) {
			f.has[t] = true
			break
		}
	}
	return f.has[t]
}

// sites appends the places within t, a part of whole at the place's offset.
func (f *finder) sites(list []Site, whole, t Type, place Site, depth int) []Site {
	const maxSites = 1 << 16
	for m := range f.set.members(t) {
		if depth > maxChain || len(list) >= maxSites || !f.contains(m.Type, depth) {
			continue
		}
		p := place
		p.Offset += m.Offset
		list = f.within(list, whole, m.Type, p, depth)
	}
	return list
}

func (f *finder) within(list []Site, whole, t Type, p Site, depth int) []Site {
	t = f.set.bare(t)
	switch f.set.kind(t) {
	case kindPtr:
		return append(list, p)
	case kindArray:
		element, n := f.set.array(t)
		if p.Stride == 0 { // of arrays in arrays only the outer one
			p.Stride, p.Count = f.set.Size(element), n
		}
		return f.within(list, whole, element, p, depth+1)
	}
	return f.sites(list, whole, t, p, depth+1)
}

// Step is a member on the way into a struct.
type Step struct {
	Struct Type
	Path   string // names from Struct on, with dots between
	At     uint32 // where Struct begins, in bytes from the outermost struct's begin
}

// Steps says what the 8 bytes at an offset of a struct are: for each struct on the
// way in, outermost first, the path from there. An array's members are without index.
func (s *Set) Steps(t Type, offset uint32) []Step {
	var steps []Step
	s.steps(t, offset, 0, &steps, 0)
	return steps
}

func (s *Set) steps(t Type, offset, base uint32, steps *[]Step, depth int) bool {
	if depth > maxChain {
		return false
	}
	mine := len(*steps)
	*steps = append(*steps, Step{Struct: t, At: base})
	for m := range s.members(t) {
		bare := s.bare(m.Type)
		size := m.Size
		flexible := false
		if s.kind(bare) == kindArray {
			element, n := s.array(bare)
			bare, flexible = s.bare(element), n == 0
		}
		if offset < m.Offset || !flexible && offset >= m.Offset+size {
			continue
		}
		inner := offset - m.Offset
		if step := s.Size(bare); step > 0 {
			inner %= step
		}
		k := s.kind(bare)
		if k != kindStruct && k != kindUnion {
			if k != kindPtr || inner != 0 {
				continue
			}
			(*steps)[mine].Path = m.name
			return true
		}
		from := len(*steps)
		if !s.steps(bare, inner, base+offset-inner, steps, depth+1) {
			*steps = (*steps)[:from]
			continue
		}
		below := (*steps)[from].Path
		if m.name == "" { // an anonymous struct or union is no step of its own
			(*steps)[mine].Path = below
			*steps = append((*steps)[:from], (*steps)[from+1:]...)
		} else {
			(*steps)[mine].Path = strings.Trim(m.name+"."+below, ".")
		}
		return true
	}
	*steps = (*steps)[:mine]
	return false
}
