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
		if f.budget = newBudget(); f.contains(t) && len(list) < maxSites {
			list = f.sites(list, t, Site{Type: t})
		}
	}
	return list
}

// maxSites bounds what is found; a kernel has some 200.
const maxSites = 1 << 16

type finder struct {
	set    *Set
	target string
	has    map[Type]bool
	budget *budget
}

// contains reports whether a value of the type has such a pointer in it.
func (f *finder) contains(t Type) bool {
	t = f.set.bare(t)
	switch f.set.kind(t) {
	case kindPtr:
		target := f.set.bare(f.set.make(t.unit, f.set.word(t)))
		k := f.set.kind(target)
		return (k == kindStruct || k == kindFwd) && f.set.Name(target) == f.target
	case kindArray, kindStruct, kindUnion:
	default:
		return false
	}
	if has, known := f.has[t]; known {
		return has
	}
	defer f.budget.leave()
	if !f.budget.enter() {
		return false
	}
	f.has[t] = false
	if f.set.kind(t) == kindArray {
		element, _ := f.set.array(t)
		f.has[t] = f.contains(element)
		return f.has[t]
	}
	for m := range f.set.members(t) {
		if f.contains(m.Type) {
			f.has[t] = true
			break
		}
	}
	return f.has[t]
}

// sites appends the places within t, a part at the place's offset.
func (f *finder) sites(list []Site, t Type, place Site) []Site {
	defer f.budget.leave()
	if !f.budget.enter() {
		return list
	}
	for m := range f.set.members(t) {
		if f.contains(m.Type) {
			p := place
			p.Offset += m.Offset
			list = f.within(list, m.Type, p)
		}
	}
	return list
}

func (f *finder) within(list []Site, t Type, p Site) []Site {
	defer f.budget.leave()
	if !f.budget.enter() {
		return list
	}
	t = f.set.bare(t)
	switch f.set.kind(t) {
	case kindPtr:
		return append(list, p)
	case kindArray:
		element, n := f.set.array(t)
		if p.Stride == 0 { // of arrays in arrays only the outer one
			p.Stride, p.Count = f.set.Size(element), n
		}
		return f.within(list, element, p)
	}
	return f.sites(list, t, p)
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
	s.steps(t, offset, 0, &steps, newBudget())
	return steps
}

func (s *Set) steps(t Type, offset, base uint32, steps *[]Step, b *budget) bool {
	defer b.leave()
	if !b.enter() {
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
		if !s.steps(bare, inner, base+offset-inner, steps, b) {
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
