// SPDX-License-Identifier: Apache-2.0

package refsite

import "slices"

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
	f.addresses(i, func(offset int64) bool {
		r := l.ruleOfOffset(offset)
		if r != 0 && (found == 0 || r < found) {
			found = r
		}
		return found != Loaded
	})
	return found
}

// addresses calls yield with the offset of the address of the load or store i from
// its register, then from the register that this one was computed from, and so on.
func (f *flow) addresses(i int, yield func(offset int64) bool) {
	offset := f.code[i].disp
	v := f.base[i]
	const maxSteps = 16
	for range maxSteps {
		if !yield(offset) || v == 0 {
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
		f.addresses(i, func(offset int64) bool {
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
