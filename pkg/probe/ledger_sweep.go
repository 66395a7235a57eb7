// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"slices"
	"time"

	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/refsite"
)

// restingTraces is how long nothing must have happened to a call trace that is dropped
// for being balanced: longer than it takes from a hold to its put.
const restingTraces = uint64(10 * time.Second)

// sweepShare bounds the time that sweeps take to one part in so many: where devices are
// many most traces tell something, and more than half of the room stays used.
const sweepShare = 20

// SweepLedger makes room for call traces once half of it is used: those of devices
// that are gone, and of purposes for which a device has nothing left, tell nothing.
// Counts are not touched.
func (s *Session) SweepLedger() error {
	l := s.ledger
	if l == nil {
		return nil
	}
	var state [states]uint64
	if err := readMapped(l.object.maps[ledgerMapRefState], &state); err != nil {
		return fmt.Errorf("asking how many call traces there are: %w", err)
	}
	used := state[stateTraces]
	if used < uint64(l.object.maps[ledgerMapRefTraces].MaxEntries())/2 {
		return nil
	}
	if time.Since(l.swept) < sweepShare*l.sweeping {
		return nil
	}
	began := time.Now()
	if err := l.sweep(s.kernel.Symbols()); err != nil {
		return fmt.Errorf("dropping call traces that tell nothing: %w", err)
	}
	l.swept, l.sweeping = time.Now(), time.Since(began)
	return nil
}

func (l *ledger) sweep(symbols *kernel.Symbols) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	// The families that have something left, by device. Devices are gone through twice,
	// since most traces are of those that are gone: to hold them all would be megabytes.
	left := make(map[uint64][]string)
	if err := l.eachLook(func(one *look) { left[one.Generation] = nil }); err != nil {
		return err
	}
	// Of all other sites the family is known without a trace.
	traces, err := l.traces(func(key traceKey) bool {
		_, alive := left[key.Generation]
		return alive && l.table.byID[key.Site].getter
	}, symbols)
	if err != nil {
		return err
	}
	net := make(map[string]int64)
	err = l.eachLook(func(one *look) {
		clear(net)
		ledger := record.RefLedger{Sites: l.sites(one, traces)}
		for use := range ledger.Uses() {
			net[use.Family] += use.Signed()
		}
		var open []string
		for family, n := range net {
			if n != 0 {
				open = append(open, family)
			}
		}
		left[one.Generation] = open
	})
	if err != nil {
		return err
	}
	return l.drop(symbols, func(key traceKey, family string, v *traceValue) bool {
		open, alive := left[key.Generation]
		return !alive || !slices.Contains(open, family) && v.Last+restingTraces < uint64(now())
	})
}

// drop removes the call traces of which tells says so. It goes on reading while it
// removes, since all that are dead would be half a megabyte: the kernel then passes over
// some of the hash bucket that it is in, which are left for the next sweep.
func (l *ledger) drop(symbols *kernel.Symbols, tells func(traceKey, string, *traceValue) bool) error {
	room := int(l.object.maps[ledgerMapRefDead].MaxEntries())
	dead := make([]traceKey, 0, room)
	kept := uint64(0)
	stacks := make(knownStacks)
	err := l.eachTrace(func(key traceKey, v *traceValue) error {
		family, err := l.familyOf(key, symbols, stacks)
		if err != nil {
			return err
		}
		if !tells(key, family, v) {
			kept++
			return nil
		}
		dead = append(dead, key)
		if len(dead) < room {
			return nil
		}
		err = l.delete(dead)
		dead = dead[:0]
		return err
	})
	if err == nil && len(dead) > 0 {
		err = l.delete(dead)
	}
	if err != nil {
		return err
	}
	// What came meanwhile is left out, which delays the next sweep a little.
	return writeMapped(l.object.maps[ledgerMapRefState], stateTraces, kept)
}

// delete removes call traces, as many as ref_dead has room for.
func (l *ledger) delete(keys []traceKey) error {
	if err := writeMapped(l.object.maps[ledgerMapRefDead], 0, keys); err != nil {
		return err
	}
	return runIterator(l.object.iterators[ledgerProgDeadIter])
}

func (l *ledger) familyOf(key traceKey, symbols *kernel.Symbols, known knownStacks) (string, error) {
	if int(key.Site) >= len(l.table.byID) || l.table.byID[key.Site] == nil {
		return refsite.Lookup, nil
	}
	site := l.table.byID[key.Site]
	if !site.getter {
		return site.family, nil
	}
	s, err := l.stackOfSite(site, key.Stack, symbols, known)
	return s.family, err
}
