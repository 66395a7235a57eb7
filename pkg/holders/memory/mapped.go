// SPDX-License-Identifier: Apache-2.0

package memory

// Page tables of x86-64: an entry's address bits, and the bits that say that it is
// valid, and that it maps memory without a further table.
const (
	entryAddress = 0x000f_ffff_ffff_f000
	entryPresent = 1 << 0
	entryLarge   = 1 << 7
	tableBits    = 9
)

// fiveLevels: with page tables of five levels the mapping of memory as a whole begins
// below where the kernel's half of the address space begins with four.
const fourLevelKernel = 0xffff_8000_0000_0000

// Translate returns where the memory behind an address of the kernel, such as one of
// vmalloc, is in the mapping of memory as a whole.
func (m *Memory) Translate(addr uint64) (uint64, bool) {
	if m.InRAM(addr) {
		return addr, true
	}
	if m.InImage(addr) {
		return m.base + m.image.Physical + addr - m.image.Addr, true
	}
	if m.tables == 0 {
		return 0, false
	}
	levels := 4
	if m.base < fourLevelKernel {
		levels = 5
	}
	table := m.tables
	for level := levels - 1; level >= 0; level-- {
		shift := uint(pageShift + tableBits*level)
		entry, err := m.Uint64(table + addr>>shift&(1<<tableBits-1)*8)
		if err != nil || entry&entryPresent == 0 {
			return 0, false
		}
		physical := entry & entryAddress
		if level == 0 || entry&entryLarge != 0 && level <= 2 {
			inside := uint64(1)<<shift - 1
			return m.base + physical&^inside + addr&inside, true
		}
		table = m.base + physical
	}
	return 0, false
}

// EachMapped calls see with each page of the kernel's address space from start to end
// (exclusive) that is mapped by itself: its address there, and that in the mapping of
// memory as a whole. Parts that are not mapped cost nothing.
func (m *Memory) EachMapped(start, end uint64, see func(addr, page uint64)) {
	if m.tables == 0 {
		return
	}
	levels := 4
	if m.base < fourLevelKernel {
		levels = 5
	}
	m.eachMapped(m.tables, levels-1, start, end, see)
}

func (m *Memory) eachMapped(table uint64, level int, start, end uint64, see func(addr, page uint64)) {
	shift := uint(pageShift + tableBits*level)
	for addr := start; addr < end; {
		entry, err := m.Uint64(table + addr>>shift&(1<<tableBits-1)*8)
		next := (addr>>shift + 1) << shift
		if next == 0 || next > end { // the last piece, or the end of the address space
			next = end
		}
		if err == nil && entry&entryPresent != 0 && (level == 0 || entry&entryLarge == 0) {
			if below := m.base + entry&entryAddress; level == 0 {
				see(addr, below)
			} else {
				m.eachMapped(below, level-1, addr, next, see)
			}
		}
		addr = next
	}
}
