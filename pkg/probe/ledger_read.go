// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/refsite"
)

// What is read of the ledgers, as bpf/ledger.bpf.c has it.
type (
	refLook struct {
		Counter    uint64
		Generation uint64
		Dev        uint64
		Before     int64
		Balance    int64
		Count      int64
		Netns      netnsID
		Ifindex    int32
		RegState   uint32
		Counted    uint32
		Settled    uint32
		Sites      uint32
		_          uint32
		Name       [16]byte
	}
	traceKey struct {
		Generation uint64
		Site       uint32
		Stack      int32
	}
	traceValue struct {
		Count       uint64
		First, Last uint64
		FirstThread threadID
		LastThread  threadID
	}
)

// look is one device's ledger.
type look struct {
	refLook
	hits []uint64 // by site
}

// eachLook reads all ledgers, one after the other: of 10,000 devices they are 27 MB. What
// see is given is valid during its call.
func (l *ledger) eachLook(see func(*look)) error {
	one := look{hits: make([]uint64, l.table.room)}
	head := binary.Size(one.refLook)
	err := eachRow(l.object.iterators[ledgerProgLedgersIter], head+8*l.table.room, func(raw []byte) error {
		if _, err := binary.Decode(raw, binary.NativeEndian, &one.refLook); err != nil {
			return err
		}
		if int(one.Sites) != l.table.room {
			return fmt.Errorf("one has %d sites, not %d", one.Sites, l.table.room)
		}
		if _, err := binary.Decode(raw[head:], binary.NativeEndian, one.hits); err != nil {
			return err
		}
		see(&one)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the ledgers of references: %w", err)
	}
	return nil
}

// RefLedgers returns the ledgers of the devices for which want says so, in the order
// in which counting began. What want is given has no sites yet. It is empty when no
// ledger is kept.
func (s *Session) RefLedgers(want func(*record.RefLedger) bool) ([]record.RefLedger, error) {
	if s.ledger == nil {
		return nil, nil
	}
	return s.ledger.statements(s.kernel, want)
}

func (l *ledger) statements(k Kernel, want func(*record.RefLedger) bool) ([]record.RefLedger, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := now()
	var looks []look
	wanted := make(map[uint64]bool) // by generation
	err := l.eachLook(func(one *look) {
		if want(new(l.statement(at, one))) {
			looks = append(looks, look{one.refLook, slices.Clone(one.hits)})
			wanted[one.Generation] = true
		}
	})
	if err != nil || len(looks) == 0 {
		return nil, err
	}
	traces, err := l.traces(func(key traceKey) bool { return wanted[key.Generation] }, k.Symbols())
	if err != nil {
		return nil, err
	}
	out := make([]record.RefLedger, 0, len(looks))
	for i := range looks {
		r := l.statement(at, &looks[i])
		r.Sites = l.sites(&looks[i], traces)
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b record.RefLedger) int { return cmp.Compare(a.Generation, b.Generation) })
	return out, nil
}

// siteOf names a site of one device.
type siteOf struct {
	generation uint64
	site       uint32
}

func (l *ledger) statement(at record.Time, one *look) record.RefLedger {
	return record.RefLedger{
		Time: at, Counter: one.Counter, Generation: one.Generation, Dev: one.Dev,
		Netns: one.Netns.id(), Ifindex: one.Ifindex, Name: unix.ByteSliceToString(one.Name[:]),
		Before: one.Before, Settled: one.Settled != 0, Balance: one.Balance,
		Count: one.Count, Counted: one.Counted != 0, Partial: l.partial,
	}
}

// sites lists those that were hit.
func (l *ledger) sites(one *look, traces map[siteOf][]record.RefTrace) []record.RefSite {
	var out []record.RefSite
	for id, hits := range one.hits[:len(l.table.byID)] {
		w := l.table.byID[id]
		if hits == 0 || w == nil {
			continue
		}
		out = append(out, record.RefSite{
			Place: w.place(), Family: w.family, Put: w.Op == refsite.Put, Getter: w.getter, Hits: hits,
			Traces: traces[siteOf{one.Generation, uint32(id)}],
		})
	}
	slices.SortFunc(out, func(a, b record.RefSite) int {
		return cmp.Or(strings.Compare(a.Family, b.Family), strings.Compare(a.Place, b.Place))
	})
	return out
}

// traces reads the call traces that are wanted.
func (l *ledger) traces(wanted func(traceKey) bool, symbols *kernel.Symbols) (map[siteOf][]record.RefTrace, error) {
	out := make(map[siteOf][]record.RefTrace)
	stacks := make(knownStacks)
	err := l.eachTrace(func(key traceKey, v *traceValue) error {
		if int(key.Site) >= len(l.table.byID) || l.table.byID[key.Site] == nil || !wanted(key) {
			return nil
		}
		t, err := l.trace(key, v, symbols, stacks)
		if err != nil {
			return err
		}
		of := siteOf{key.Generation, key.Site}
		out[of] = append(out[of], t)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the call traces of references: %w", err)
	}
	for _, traces := range out {
		slices.SortFunc(traces, func(a, b record.RefTrace) int { return cmp.Compare(a.First, b.First) })
	}
	return out, nil
}

// eachTrace reads all call traces; see bpf/ledger_read.h for why in this way.
func (l *ledger) eachTrace(f func(traceKey, *traceValue) error) error {
	var one struct {
		Key   traceKey
		Value traceValue
	}
	return eachRow(l.object.iterators[ledgerProgTracesIter], binary.Size(one), func(raw []byte) error {
		if _, err := binary.Decode(raw, binary.NativeEndian, &one); err != nil {
			return err
		}
		return f(one.Key, &one.Value)
	})
}

// knownStacks are stacks by the map that they are in and their number there. The traces
// of thousands of devices have few different ones.
type knownStacks map[stackOf]stack

type stackOf struct {
	from string
	id   int32
}

// stack is a call trace, and for what a getter called by it takes references.
type stack struct {
	kernel []uint64
	family string
}

func (l *ledger) stackOfSite(site *watchedSite, id int32, symbols *kernel.Symbols, known knownStacks) (stack, error) {
	of := stackOf{ledgerMapStacks, id}
	if site.getter {
		of.from = ledgerMapRefCallers
	}
	if s, ok := known[of]; ok {
		return s, nil
	}
	var s stack
	var err error
	if s.kernel, err = l.object.stackOf(of.from, id); err != nil {
		return s, err
	}
	if site.getter {
		s.family = l.table.familyOfCaller(s.kernel, symbols)
	}
	known[of] = s
	return s, nil
}

func (l *ledger) trace(key traceKey, v *traceValue, symbols *kernel.Symbols, known knownStacks) (record.RefTrace, error) {
	site := l.table.byID[key.Site]
	t := record.RefTrace{
		Family: site.family, Count: v.Count, First: v.First, Last: v.Last,
		FirstThread: v.FirstThread.thread(), LastThread: v.LastThread.thread(),
	}
	s, err := l.stackOfSite(site, key.Stack, symbols, known)
	if err != nil {
		return t, err
	}
	t.Kernel = s.kernel
	if site.getter {
		t.Family = s.family
	}
	return t, nil
}

// familyOfCaller is for what the caller of a getter takes the reference: the family of
// the first function that is no getter itself.
func (t *siteTable) familyOfCaller(stack []uint64, symbols *kernel.Symbols) string {
	if symbols == nil {
		return refsite.Lookup
	}
	for _, pc := range stack {
		frame, ok := symbols.Resolve(pc)
		if !ok {
			continue
		}
		if family, _ := t.families.Of(frame.Symbol, frame.Module); family != refsite.Lookup {
			return family
		}
	}
	return refsite.Lookup
}
