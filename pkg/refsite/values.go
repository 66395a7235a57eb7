// SPDX-License-Identifier: Apache-2.0

package refsite

import "slices"

// value names what a register holds: 16 times the number of what made it, plus the
// register in which it was made. Instructions are numbered from 1; after them come
// the joins at the starts of blocks. 0 is not known yet.
type value uint32

// state is what each general register holds.
type state [16]value

// flow follows the values of registers through a function. It is used again for
// the next, to keep its memory.
type flow struct {
	graph
	out    []state  // at the end of each block
	in     []state  // at the start of each block
	joined []uint16 // registers of each block that two ways bring different values in
	base   []value  // of each load, store and add: the register it starts from
	stored []value  // of each store: what is stored
	queue  []int32
	queued []bool
}

// follow computes the values in code until nothing changes. Each register of a
// block changes at most twice plus as often as in the one block before it, so this
// ends, whatever the code is.
func (f *flow) follow(code []instruction) {
	f.build(code)
	n := len(f.blocks)
	f.in = append(f.in[:0], make([]state, n)...)
	f.out = append(f.out[:0], make([]state, n)...)
	f.joined = append(f.joined[:0], make([]uint16, n)...)
	f.base = append(f.base[:0], make([]value, len(code))...)
	f.stored = append(f.stored[:0], make([]value, len(code))...)
	f.queued = append(f.queued[:0], make([]bool, n)...)
	f.queue = f.queue[:0]
	seen := make([]bool, n)
	for i := range f.blocks {
		if seen[i] {
			continue
		}
		f.blocks[i].root = true
		f.push(int32(i))
		f.drain(seen)
	}
}

func (f *flow) push(b int32) {
	if !f.queued[b] {
		f.queued[b] = true
		f.queue = append(f.queue, b)
	}
}

func (f *flow) drain(seen []bool) {
	for len(f.queue) > 0 {
		b := f.queue[0]
		f.queue = f.queue[1:]
		f.queued[b] = false
		in := f.enter(b)
		if seen[b] && in == f.in[b] {
			continue
		}
		seen[b] = true
		f.in[b] = in
		f.out[b] = f.run(b, in)
		for _, to := range f.blocks[b].next {
			if to >= 0 {
				f.push(to)
			}
		}
	}
	f.queue = f.queue[:0]
}

// enter returns what the registers hold at the start of block b.
func (f *flow) enter(b int32) state {
	var in state
	for r := range in {
		in[r] = f.merge(b, r)
	}
	return in
}

func (f *flow) merge(b int32, r int) value {
	join := value(len(f.code)+1+int(b))<<4 | value(r)
	if f.blocks[b].root || f.joined[b]&(1<<r) != 0 {
		return join
	}
	var v value
	for _, p := range f.blocks[b].preds {
		switch w := f.out[p][r]; {
		case w == 0 || w == v:
		case v == 0:
			v = w
		default:
			f.joined[b] |= 1 << r // stays, or two joins in a loop could alternate
			return join
		}
	}
	return v
}

// run takes the registers through the instructions of block b.
func (f *flow) run(b int32, s state) state {
	for i := f.blocks[b].first; i < f.blocks[b].end; i++ {
		f.step(int(i), &s)
	}
	return s
}

func (f *flow) step(i int, s *state) {
	in := &f.code[i]
	made := value(i+1) << 4
	switch in.kind {
	case move:
		s[in.dst] = s[in.src]
	case load, add:
		f.base[i] = s[in.src]
		s[in.dst] = made | value(in.dst)
	case store:
		f.base[i], f.stored[i] = s[in.dst], s[in.src]
	}
	for r, set := 0, in.writes; set != 0; r, set = r+1, set>>1 {
		if set&1 != 0 {
			s[r] = made | value(r)
		}
	}
}

// at returns what register r holds before instruction i.
func (f *flow) at(i int, r Register) value {
	b := f.blockOf(int32(i))
	s := f.in[b]
	for j := f.blocks[b].first; j < int32(i); j++ {
		f.step(int(j), &s)
	}
	return s[r]
}

// maker returns the instruction that made v, or the block at whose start ways with
// different values join.
func (f *flow) maker(v value) (instruction, block int) {
	n := int(v>>4) - 1
	if n < len(f.code) {
		return n, -1
	}
	return -1, n - len(f.code)
}

// sources appends to list what v may be a join of, v itself when it is none. It
// returns false when one of them is unknown.
func (f *flow) sources(list []value, v value) ([]value, bool) {
	seen := []value{v}
	for i := 0; i < len(seen); i++ {
		_, b := f.maker(seen[i])
		if b < 0 {
			list = append(list, seen[i])
			continue
		}
		if f.blocks[b].root {
			return list, false
		}
		for _, p := range f.blocks[b].preds {
			w := f.out[p][seen[i]&15]
			if w != 0 && !slices.Contains(seen, w) {
				seen = append(seen, w)
			}
		}
		if len(seen) > maxSources {
			return list, false
		}
	}
	return list, true
}

// maxSources bounds how many ways may bring a pointer to a site.
const maxSources = 256
