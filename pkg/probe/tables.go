// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"math/bits"

	"github.com/cilium/ebpf"
)

const (
	// largeTable is from how many bytes on a table is made smaller: the small ones are
	// of what is under way, or of what has to be there, such as the reference sites.
	largeTable = 512 << 10
	// leastEntries is what a table keeps.
	leastEntries = 256
	// mostHalvings is how often tables are halved at most.
	mostHalvings = 6
	// likelySites is how many sites a ledger has room for, before they are looked for.
	likelySites = 400
)

// TableBytes is how much memory the kernel's tables of this session take, the ring
// buffer included, as the kernel tells it; 0 when it does not.
func (s *Session) TableBytes() uint64 {
	sum := mapBytes(s.ring)
	for _, part := range s.parts() {
		for name, m := range s.objects[part].maps {
			if name != "ring" {
				sum += mapBytes(m)
			}
		}
	}
	return sum
}

func mapBytes(m *ebpf.Map) uint64 {
	info, err := m.Info()
	if err != nil {
		return 0
	}
	n, _ := info.Memlock()
	return n
}

// TableRoom is which part of their room the large tables have, to stay within
// Options.TableBytes: 1, 2 or a higher power of two for all, half, and so on.
func (s *Session) TableRoom() int { return 1 << s.halvings }

// halvingsFor is how often the tables have to be halved to take at most o.TableBytes.
func (o *Options) halvingsFor(k Kernel) (int, error) {
	if o.TableBytes == 0 {
		return 0, nil
	}
	parts := o.Detectors
	if o.Names {
		parts = append(parts[:len(parts):len(parts)], Names)
	}
	var specs []*ebpf.CollectionSpec
	for _, part := range parts {
		set, err := setOf(part, k, *o)
		if err != nil {
			return 0, err
		}
		spec, err := set.spec()
		if err != nil {
			return 0, fmt.Errorf("reading the programs of %s: %w", part, err)
		}
		if err := set.configure(spec); err != nil {
			return 0, fmt.Errorf("configuring the programs of %s: %w", part, err)
		}
		specs = append(specs, spec)
		if part == DetectorRefs && !o.Refs.Ledger.Off {
			if spec, err = loadLedger(); err != nil {
				return 0, fmt.Errorf("reading the programs of the ledger: %w", err)
			}
			o.Refs.Ledger.size(spec, likelySites)
			specs = append(specs, spec)
		}
	}
	for halvings := range mostHalvings {
		sum := uint64(o.RingBytes)
		for _, spec := range specs {
			smaller := spec.Copy()
			shrink(smaller, halvings)
			for name, m := range smaller.Maps {
				if name != "ring" {
					sum += wouldTake(m)
				}
			}
		}
		if sum <= o.TableBytes {
			return halvings, nil
		}
	}
	return mostHalvings, nil
}

// shrink halves the large tables so often.
func shrink(spec *ebpf.CollectionSpec, halvings int) {
	for name, m := range spec.Maps {
		// Of arrays only this may be smaller: its entries are taken by number, one by one.
		ledgers := name == ledgerMapRefLedgers
		if lessens := ledgers || m.Type == ebpf.Hash || m.Type == ebpf.StackTrace; lessens && wouldTake(m) > largeTable {
			m.MaxEntries = min(m.MaxEntries, max(leastEntries, m.MaxEntries>>halvings))
		}
	}
}

// wouldTake is about how many bytes a table takes: as htab_map_mem_usage() and
// stack_map_mem_usage() of 6.4 have it, for one CPU.
func wouldTake(m *ebpf.MapSpec) uint64 {
	round := func(n uint32) uint64 { return uint64(n+7) &^ 7 }
	n := uint64(m.MaxEntries)
	buckets := uint64(1) << bits.Len64(max(n, 1)-1)
	switch m.Type {
	case ebpf.Hash:
		return n*(48+round(m.KeySize)+round(m.ValueSize)) + 16*buckets
	case ebpf.StackTrace:
		return buckets * (24 + round(m.ValueSize))
	case ebpf.RingBuf:
		return n
	}
	return n * round(m.ValueSize)
}
