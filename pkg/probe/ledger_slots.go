// SPDX-License-Identifier: Apache-2.0

package probe

import "math/bits"

// How the program at the sites finds one by its probe's address: see find_site in
// bpf/ledger_site.h.
const (
	slotTries    = 4
	slotFactor   = 0x9e3779b97f4a7c15
	slotsPerSite = 16
)

// slots is which probe's address is in which slot of the map ref_sites; 0 is free.
type slots struct {
	shift     uint
	addresses []uint64
	freed     []uint32 // that the map has to be told of
}

// newSlots makes room for so many sites, sparsely: in a table of which a sixteenth is
// used, hardly ever are slotTries slots in a row.
func newSlots(sites int) slots {
	addresses := make([]uint64, slotsFor(sites))
	return slots{shift: uint(65 - bits.Len(uint(len(addresses)))), addresses: addresses}
}

// slotsFor is how many slots there are for so many sites: a power of two to begin at,
// and what the tries from the last reach.
func slotsFor(sites int) int {
	return 1<<bits.Len(uint(max(sites, 1)*slotsPerSite-1)) + slotTries - 1
}

// find returns the slot of an address, or with 0 a free one for it.
func (s *slots) find(address, content uint64) (uint32, bool) {
	first := address * slotFactor >> s.shift
	for slot := first; slot < first+slotTries; slot++ {
		if s.addresses[slot] == content {
			return uint32(slot), true
		}
	}
	return 0, false
}

// take gives an address a slot, the one that it has if it has one.
func (s *slots) take(address uint64) (uint32, bool) {
	slot, ok := s.find(address, address)
	if !ok {
		slot, ok = s.find(address, 0)
	}
	if ok {
		s.addresses[slot] = address
	}
	return slot, ok
}

// free gives the slot of an address back, if it has one.
func (s *slots) free(address uint64) {
	if slot, ok := s.find(address, address); ok && address != 0 {
		s.addresses[slot] = 0
		s.freed = append(s.freed, slot)
	}
}
