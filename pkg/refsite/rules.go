// SPDX-License-Identifier: Apache-2.0

package refsite

import (
	"cmp"
	"slices"
)

// rule says by which rule value v is the per-CPU pointer of a device; 0 is none.
// When several ways lead here, each must bring such a pointer.
func (f *flow) rule(l Layout, v value) Rule {
	if v == 0 {
		return 0
	}
	sources, known := f.sources(nil, v)
	if !known || len(sources) == 0 {
		return 0
	}
	var weakest Rule
	for _, source := range sources {
		i, _ := f.maker(source)
		r := f.ruleOfLoad(l, i)
		if _, found := slices.BinarySearch(f.counts, source); r == 0 && found {
			r = Stored
		}
		if r == 0 {
			return 0
		}
		weakest = max(weakest, r)
	}
	return weakest
}

// ruleOfLoad looks at the address from which instruction i loads.
func (f *flow) ruleOfLoad(l Layout, i int) Rule {
	in := f.code[i]
	if in.kind != load {
		return 0
	}
	var found Rule
	f.addresses(i, func(from value, offset int64) bool {
		r := l.ruleOfOffset(offset)
		_, isMember := slices.BinarySearchFunc(f.members, member{from, l.Count - offset}, compareMembers)
		if r == 0 && isMember {
			r = Container
		}
		if r != 0 && (found == 0 || r < found) {
			found = r
		}
		return found != Loaded
	})
	return found
}

// member is a register that holds the address of a member of a device.
type member struct {
	of     value
	offset int64
}

func compareMembers(a, b member) int {
	return cmp.Or(cmp.Compare(a.of, b.of), cmp.Compare(a.offset, b.offset))
}

// collectMembers finds where the function goes from a member of a device to the
// device, by subtracting the member's offset. The compiler needs the device itself
// only where it is passed on or compared with NULL, and reads its other members
// from the member that it has.
func (f *flow) collectMembers(l Layout) {
	f.members = f.members[:0]
	for i, in := range f.code {
		if in.kind != add || in.disp >= 0 {
			continue
		}
		if _, found := slices.BinarySearch(l.Members, -in.disp); found {
			f.members = append(f.members, member{f.base[i], -in.disp})
		}
	}
	slices.SortFunc(f.members, compareMembers)
}

// addresses calls yield with the register of the load or store i and the offset of
// its address from it, then with the register that this one was computed from, and
// so on.
func (f *flow) addresses(i int, yield func(from value, offset int64) bool) {
	offset := f.code[i].disp
	v := f.base[i]
	const maxSteps = 16
	for range maxSteps {
		if v == 0 || !yield(v, offset) {
			return
		}
		j, _ := f.maker(v)
		if j < 0 || f.code[j].kind != add {
			return
		}
		offset += f.code[j].disp
		v = f.base[j]
	}
}

func (l Layout) ruleOfOffset(offset int64) Rule {
	switch {
	case offset == l.Count:
		return Loaded
	case slices.Contains(l.Embedded, l.Count-offset):
		return Container
	case l.Private != 0 && offset == l.Count-l.Private:
		return Private
	}
	return 0
}

// collectStored finds what the function stores as the pointer of a device.
func (f *flow) collectStored(l Layout) {
	f.counts = f.counts[:0]
	for i := range f.code {
		if f.code[i].kind != store {
			continue
		}
		f.addresses(i, func(_ value, offset int64) bool {
			if offset == l.Count {
				f.counts = append(f.counts, f.stored[i])
			}
			return offset != l.Count
		})
	}
	slices.Sort(f.counts)
}

// loadBefore returns the address of the instruction before site i, and the register
// with the device there, when that instruction loads the pointer from the device
// and nothing branches to the site itself.
func (f *flow) loadBefore(l Layout, i int) (int, bool) {
	if i == 0 || f.starts[i] {
		return 0, false
	}
	in := f.code[i-1]
	return i - 1, in.kind == load && in.dst == f.code[i].src && in.disp == l.Count
}
