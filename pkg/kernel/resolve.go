// SPDX-License-Identifier: Apache-2.0

package kernel

import "sort"

// Sizes that bound a symbol nothing follows. Module text is mapped in whole
// pages and the kernel takes the region's end as the last symbol's end. A BPF
// program lies in a pack of 2 MiB since 5.18.
const (
	pageSize    = 4096
	bpfPackSize = 2 << 20
)

// Resolve names a kernel address, choosing among aliases and computing the size
// as the kernel does. It returns false, with only Addr set, when the address is
// in no known code or data: user addresses, per-CPU offsets, gaps between
// modules.
func (s *Symbols) Resolve(addr uint64) (Frame, bool) {
	bare := Frame{Addr: addr}
	if !isKernelAddress(addr) {
		return bare, false
	}
	above := sort.Search(len(s.addrs), func(i int) bool { return s.addrs[i] > addr })
	if above == 0 {
		return bare, false
	}
	start := s.addrs[above-1]
	if !isKernelAddress(start) {
		return bare, false
	}
	first := sort.Search(above, func(i int) bool { return s.addrs[i] >= start })
	if !s.inImage(first, addr) {
		return bare, false
	}
	end, _ := s.end(first, above)
	if addr >= end {
		return bare, false
	}
	return Frame{
		Symbol: string(s.name(first)),
		Offset: addr - start,
		Size:   end - start,
		Module: s.modules[s.mods[first]],
		Addr:   addr,
	}, true
}

// end returns where symbol i ends, given the next symbol at a distinct address,
// and whether that next symbol is no text of the same module.
func (s *Symbols) end(i, next int) (end uint64, last bool) {
	start := s.addrs[i]
	module := s.mods[i]
	limit := pageEnd(start)
	if isLabel(s.modules[module]) {
		limit = saturatingAdd(start, bpfPackSize)
	}
	if next >= len(s.addrs) {
		return limit, true
	}
	follows := s.addrs[next]
	text := isText(s.kinds[i])
	last = s.firstTextOf(next, module) < 0
	// Within the kernel image, and from text to text or data to data of one
	// module, the next symbol is the end however far. Between a module's text
	// and its data there may be a gap, so there the page's end bounds it too.
	sameRegion := s.mods[next] == module && (module == 0 || text != last)
	if sameRegion && !isLabel(s.modules[module]) {
		return follows, last
	}
	return min(follows, limit), last
}

// firstTextOf returns the first text symbol of the module among those at i's
// address, or -1.
func (s *Symbols) firstTextOf(i int, module uint16) int {
	for j := i; j < len(s.addrs) && s.addrs[j] == s.addrs[i]; j++ {
		if s.mods[j] == module && isText(s.kinds[j]) {
			return j
		}
	}
	return -1
}

// pageEnd returns the end of the page that holds addr.
func pageEnd(addr uint64) uint64 { return saturatingAdd(addr&^(pageSize-1), pageSize) }

func saturatingAdd(a, b uint64) uint64 {
	if a+b < a {
		return ^uint64(0)
	}
	return a + b
}

// inImage reports whether the kernel would use symbol i for addr: names of the
// kernel image hold only inside it.
func (s *Symbols) inImage(i int, addr uint64) bool {
	return s.mods[i] != 0 || inRanges(s.image, addr)
}

// inRanges reports whether addr is in one of the ranges; no ranges means that
// they are not known, which excludes nothing.
func inRanges(ranges []addrRange, addr uint64) bool {
	for _, r := range ranges {
		if addr >= r.start && addr < r.end {
			return true
		}
	}
	return len(ranges) == 0
}

// findImageBounds notes where the kernel image's names hold, by the rule of
// is_ksym_addr(): the whole image when data symbols are in the table
// (CONFIG_KALLSYMS_ALL, recognised by _end), else its two text ranges.
func (s *Symbols) findImageBounds() {
	s.text = s.between("_stext", "_etext")
	s.image = s.between("_stext", "_end")
	if len(s.image) == 0 {
		s.image = append(s.between("_sinittext", "_einittext"), s.text...)
	}
}

// between returns the range from one symbol of the image to another, or nothing
// when one is missing.
func (s *Symbols) between(from, to string) []addrRange {
	a, okA := s.imageAddress(from)
	b, okB := s.imageAddress(to)
	if !okA || !okB || a >= b || !isKernelAddress(a) {
		return nil
	}
	return []addrRange{{a, b}}
}

func (s *Symbols) imageAddress(name string) (uint64, bool) {
	for _, sym := range append(s.Lookup(name), s.LookupData(name)...) {
		if sym.Module == "" {
			return sym.Addr, true
		}
	}
	return 0, false
}
