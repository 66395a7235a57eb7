// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"slices"
	"unsafe"
)

// Targets are words to be looked for. They are kept in disguise: who keeps a pointer
// that it looks for in memory finds itself, and the more it finds the more there is.
type Targets struct {
	low, span uint64
	filter    [filterWords]uint64 // of pages that have a target
	mask      uint64
	sorted    []uint64 // disguised by mask
	index     []int    // which target each of sorted was
}

const (
	filterBits  = 16
	filterWords = 1 << filterBits / 64
	pageShift   = 12
)

// NewTargets prepares a search for words, none of which is 0.
func NewTargets(words []uint64) *Targets {
	// Any odd constant will do: addresses of the kernel have their top bits set, and
	// so has no disguised one.
	t := &Targets{mask: 0xa5c3_9e11_5ad3_0f69}
	if len(words) == 0 {
		return t
	}
	// The bounds are wider than need be, so that they are no targets themselves.
	t.low = slices.Min(words) - 3
	t.span = slices.Max(words) + 3 - t.low
	order := make([]int, len(words))
	for i, w := range words {
		order[i] = i
		h := hash(w)
		t.filter[h/64] |= 1 << (h % 64)
	}
	slices.SortFunc(order, func(a, b int) int {
		if words[a]^t.mask < words[b]^t.mask {
			return -1
		}
		return 1
	})
	for _, i := range order {
		t.sorted = append(t.sorted, words[i]^t.mask)
		t.index = append(t.index, i)
	}
	return t
}

// hash spreads pages: targets that lie together fill few bits.
func hash(w uint64) uint64 { return (w >> pageShift) * 0x9e3779b97f4a7c15 >> (64 - filterBits) }

// words is b as the machine has it. encoding/binary takes twice as long; x86-64 is
// little-endian, as what is read.
func words(b []byte) []uint64 {
	if len(b) < 8 {
		return nil
	}
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/8)
}

// Find implements [Pattern]: it finds each aligned word that is a target.
func (t *Targets) Find(b []byte, _ uint64, see func(offset, target int)) {
	if len(t.sorted) == 0 {
		return
	}
	low, span := t.low, t.span
	for i, w := range words(b) {
		if w-low > span {
			continue
		}
		h := hash(w)
		if t.filter[h/64]&(1<<(h%64)) == 0 {
			continue
		}
		if at, ok := slices.BinarySearch(t.sorted, w^t.mask); ok {
			for ; at < len(t.sorted) && t.sorted[at] == w^t.mask; at++ {
				see(8*i, t.index[at])
			}
		}
	}
}

// SelfPointers is the pattern of a word that points at itself: an empty list.
type SelfPointers struct{}

// Find implements [Pattern].
func (SelfPointers) Find(b []byte, start uint64, see func(offset, target int)) {
	for i, w := range words(b) {
		if w == start+8*uint64(i) {
			see(8*i, 0)
		}
	}
}
