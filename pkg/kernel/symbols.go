// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"iter"
	"slices"
	"sort"
)

// Symbols is a snapshot of the kernel's symbol table. It is immutable and safe
// for concurrent use. It costs about 50 bytes a symbol.
//
// Columns are parallel and sorted by address. Symbols that share an address
// keep the order of /proc/kallsyms, because the kernel prints the first of
// them.
type Symbols struct {
	addrs   []uint64
	nameOff []uint32 // into names, where the name ends with a zero byte
	kinds   []byte   // nm type letter
	mods    []uint16 // into modules; 0 is the kernel image
	names   []byte
	modules []string

	// The names' index: a hash table of chains, keyed by the name up to its
	// first dot, so that a function and its compiler-made clones are in one
	// chain. Entries are symbol number + 1; 0 ends a chain.
	buckets []uint32
	next    []uint32

	image     []addrRange // where the kernel image's names hold; empty if unknown
	text      []addrRange // the kernel image's resident text; empty if unknown
	malformed int
}

// addrRange is [start, end).
type addrRange struct{ start, end uint64 }

// Symbol is one line of the table.
type Symbol struct {
	Name string
	Addr uint64
	// Module is empty for the kernel image; otherwise as in Frame.
	Module string
	// Type is the letter that nm and /proc/kallsyms show, lower case for
	// local symbols.
	Type byte
}

// Function is the extent of code from one text symbol to the next distinct
// address. Aliases are one Function.
type Function struct {
	// Start and End are addresses; End is exclusive.
	Start, End uint64
	// Module is as in Frame.
	Module string
	// Last is true when what follows is no text of the same module. For a
	// module, End is then a bound (the end of the page Start is in), not a
	// known size. A kprobe in the last function of a module's text made
	// 6.12.117 fault in can_optimize(), which decodes to that bound and
	// beyond: no probe may be placed in such a function.
	Last bool
}

// Len returns the number of symbols, data included.
func (s *Symbols) Len() int { return len(s.addrs) }

// Malformed returns how many lines were left out because they were not in the
// format of /proc/kallsyms.
func (s *Symbols) Malformed() int { return s.malformed }

// Functions yields every function of the kernel image and of loadable modules
// in address order, without allocating; Resolve(Start) gives the name. BPF
// programs and trampolines are not in it: their code is not the kernel's. Nor is
// __init text: its names stay in kallsyms when its memory is given away.
func (s *Symbols) Functions() iter.Seq[Function] {
	return func(yield func(Function) bool) {
		for i := 0; i < len(s.addrs); {
			first := s.firstText(i)
			next := s.nextDistinct(i)
			if first >= 0 && s.isResidentText(first) {
				end, last := s.end(first, next)
				f := Function{Start: s.addrs[i], End: end, Module: s.modules[s.mods[first]], Last: last}
				if !yield(f) {
					return
				}
			}
			i = next
		}
	}
}

// FunctionAt returns the function that addr is in, one of those that Functions
// yields.
func (s *Symbols) FunctionAt(addr uint64) (Function, bool) {
	above := sort.Search(len(s.addrs), func(i int) bool { return s.addrs[i] > addr })
	if above == 0 {
		return Function{}, false
	}
	start := s.addrs[above-1]
	first := s.firstText(sort.Search(above, func(i int) bool { return s.addrs[i] >= start }))
	if first < 0 || !s.isResidentText(first) {
		return Function{}, false
	}
	end, last := s.end(first, above)
	return Function{Start: start, End: end, Module: s.modules[s.mods[first]], Last: last}, addr < end
}

// isResidentText reports whether text symbol i names code that is still there
// and belongs to the kernel image or a module.
func (s *Symbols) isResidentText(i int) bool {
	if s.mods[i] == 0 {
		return isKernelAddress(s.addrs[i]) && inRanges(s.text, s.addrs[i])
	}
	return isKernelAddress(s.addrs[i]) && !isLabel(s.modules[s.mods[i]])
}

// firstText returns the first text symbol among those at i's address, or -1.
func (s *Symbols) firstText(i int) int {
	for j := i; j < len(s.addrs) && s.addrs[j] == s.addrs[i]; j++ {
		if isText(s.kinds[j]) {
			return j
		}
	}
	return -1
}

// nextDistinct returns the number of the first symbol above i's address.
func (s *Symbols) nextDistinct(i int) int {
	j := i + 1
	for j < len(s.addrs) && s.addrs[j] == s.addrs[i] {
		j++
	}
	return j
}

func (s *Symbols) name(i int) []byte {
	n := s.names[s.nameOff[i]:]
	return n[:bytes.IndexByte(n, 0)]
}

func (s *Symbols) symbol(i int) Symbol {
	return Symbol{
		Name:   string(s.name(i)),
		Addr:   s.addrs[i],
		Module: s.modules[s.mods[i]],
		Type:   s.kinds[i],
	}
}

// isText tells code from data by the nm letter. w and W are weak functions; v
// and V are weak objects.
func isText(kind byte) bool {
	return kind == 't' || kind == 'T' || kind == 'w' || kind == 'W'
}

// isLabel reports whether the bracketed word of a kallsyms line is one of the
// kernel's own labels: BPF programs (since 4.11), ftrace trampolines and
// kprobe instruction slots (since 5.8).
func isLabel(module string) bool {
	return module == "bpf" || module == "__builtin__ftrace" || module == "__builtin__kprobes"
}

// isKernelAddress: on amd64 and arm64 the kernel is the half of the address
// space with the top bit set. Below it kallsyms lists per-CPU offsets.
func isKernelAddress(addr uint64) bool { return addr>>63 == 1 }

// sortByAddress sorts the columns. The kernel image's part of kallsyms is in
// order already, modules are not.
func (s *Symbols) sortByAddress() {
	if slices.IsSorted(s.addrs) {
		return
	}
	order := make([]uint32, len(s.addrs))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int {
		switch {
		case s.addrs[a] < s.addrs[b]:
			return -1
		case s.addrs[a] > s.addrs[b]:
			return 1
		}
		return int(a) - int(b) // stable
	})
	s.addrs = permute(s.addrs, order)
	s.nameOff = permute(s.nameOff, order)
	s.kinds = permute(s.kinds, order)
	s.mods = permute(s.mods, order)
}

func permute[T any](column []T, order []uint32) []T {
	out := make([]T, len(order))
	for i, from := range order {
		out[i] = column[from]
	}
	return out
}
