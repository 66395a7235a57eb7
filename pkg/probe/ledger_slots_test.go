// SPDX-License-Identifier: Apache-2.0

package probe

import "testing"

// A kernel's sites and those of modules that come and go many times: all have a slot,
// none has another's.
func TestSlots(t *testing.T) {
	const sites = 600
	s := newSlots(sites)
	address := func(site, load int) uint64 { return 0xffffffff81000000 + uint64(site)*1237 + uint64(load)*0x13000 }
	for load := range 100 {
		seen := make(map[uint32]bool)
		for site := range sites {
			slot, ok := s.take(address(site, load))
			if !ok {
				t.Fatalf("load %d: site %d has no slot", load, site)
			}
			if again, ok := s.take(address(site, load)); !ok || again != slot || seen[slot] {
				t.Fatalf("load %d: site %d is in slot %d, then in %d; taken: %v", load, site, slot, again, seen[slot])
			}
			seen[slot] = true
		}
		for site := range sites {
			s.free(address(site, load))
		}
	}
	for slot, address := range s.addresses {
		if address != 0 {
			t.Errorf("slot %d still has %#x", slot, address)
		}
	}
}

// Addresses of one slot: the fifth has no room, and nothing else is lost by that.
func TestSlotsFull(t *testing.T) {
	s := newSlots(1)
	taken := 0
	for address := uint64(1); address < 200; address++ {
		if _, ok := s.take(address); ok {
			taken++
		}
	}
	if taken != len(s.addresses) {
		t.Errorf("%d of %d slots are taken", taken, len(s.addresses))
	}
}
