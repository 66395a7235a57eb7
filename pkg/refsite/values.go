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
	in      []state  // at the start of each block
	out     []state  // at the end of each block
	base    []value  // of each load, store and add: the register it starts from
	stored  []value  // of each store: what is stored
	counts  []value  // what is stored as the per-CPU pointer of a device, in order
	members []member // what holds the address of a device's member, in order
	queue   []int32
	queued  []bool
	seen    []bool
	budget  int
}

// follow computes the values in code until nothing changes. A register at the start
// of a block changes twice at most, to a value and to a join, so this ends soon,
// whatever the code is.
func (f *flow) follow(l Layout, code []instruction) {
	f.build(code)
	n := len(f.blocks)
	f.in = cleared(f.in, n)
	f.out = cleared(f.out, n)
	f.queued = cleared(f.queued, n)
	f.seen = cleared(f.seen, n)
	f.base = cleared(f.base, len(code))
	f.stored = cleared(f.stored, len(code))
	f.budget = maxVisits
	for i := range f.blocks {
		if f.seen[i] {
			continue
		}
		// The first block, or one that nothing seen so far leads to.
		f.blocks[i].root = true
		for r := range f.in[i] {
			f.in[i][r] = f.join(int32(i), r)
		}
		f.push(int32(i))
		f.drain()
	}
	f.collectStored(l)
	f.collectMembers(l)
}

// cleared returns list with n zero elements, in the memory it has if that is enough.
func cleared[T any](list []T, n int) []T {
	if cap(list) < n {
		return make([]T, n)
	}
	list = list[:n]
	clear(list)
	return list
}

// join is what register r holds at the start of block b when that depends on the
// way there.
func (f *flow) join(b int32, r int) value {
	return value(len(f.code)+1+int(b))<<4 | value(r)
}

func (f *flow) push(b int32) {
	if !f.queued[b] {
		f.queued[b] = true
		f.queue = append(f.queue, b)
	}
}

func (f *flow) drain() {
	for next := 0; next < len(f.queue); next++ {
		b := f.queue[next]
		f.queued[b], f.seen[b] = false, true
		f.out[b] = f.run(b)
		for _, to := range f.blocks[b].next {
			if to >= 0 && f.enter(to, &f.out[b]) {
				f.push(to)
			}
		}
	}
	f.queue = f.queue[:0]
}

// enter brings the registers of one way to block b. It returns whether that tells
// anything new.
func (f *flow) enter(b int32, s *state) bool {
	changed := !f.seen[b]
	in := &f.in[b]
	for r, v := range s {
		switch {
		case v == in[r]:
		case in[r] == 0:
			in[r], changed = v, true
		case in[r] != f.join(b, r):
			in[r], changed = f.join(b, r), true
		}
	}
	return changed
}

// run takes the registers through the instructions of block b.
func (f *flow) run(b int32) state {
	s := f.in[b]
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

// counted calls yield with each instruction that changes a per-CPU counter of 32
// bits, and with what its register holds.
func (f *flow) counted(yield func(i int, v value)) {
	for b := range f.blocks {
		s := f.in[b]
		for i := f.blocks[b].first; i < f.blocks[b].end; i++ {
			if in := f.code[i]; in.kind == counted {
				yield(int(i), s[in.src])
			}
			f.step(int(i), &s)
		}
	}
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

// maxVisits bounds how many ways are looked at in one function. A function of
// Debian's kernels takes some hundreds.
const maxVisits = 1 << 20

// sources appends to list what v may be a join of, v itself when it is none. It
// returns false when one of them is unknown, or when there are too many.
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
			if f.budget -= len(seen); f.budget < 0 {
				return list, false
			}
			if w != 0 && !slices.Contains(seen, w) {
				seen = append(seen, w)
			}
		}
	}
	return list, true
}
