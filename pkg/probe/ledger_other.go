// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/refsite"
)

// ErrNoLedger says that no netns-trace at work keeps a ledger.
var ErrNoLedger = errors.New("no netns-trace at work counts references")

// OtherLedger is the ledger that another netns-trace keeps, as its maps in the kernel
// have it. Reading it disturbs nobody.
type OtherLedger struct {
	ledger *ledger
	kernel Kernel
}

// FindLedger looks for the ledger of a netns-trace at work, that of the youngest if
// there are several. The error wraps ErrNoLedger if there is none. It must be closed.
func FindLedger(ctx context.Context, k Kernel) (*OtherLedger, error) {
	theirs, err := findLedgerMaps()
	if err != nil {
		return nil, err
	}
	l, err := adoptLedger(ctx, k, theirs)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the ledger of another netns-trace: %w", err), closeMaps(theirs))
	}
	return &OtherLedger{ledger: l, kernel: k}, nil
}

// RefLedgers is as that of Session.
func (o *OtherLedger) RefLedgers(want func(*record.RefLedger) bool) ([]record.RefLedger, error) {
	return o.ledger.statements(o.kernel, want)
}

// Close frees what it has of the kernel.
func (o *OtherLedger) Close() error { return o.ledger.object.Close() }

// mapsOfLedger are those that hold it.
var mapsOfLedger = []string{
	ledgerMapRefSites, ledgerMapRefLedgers, ledgerMapRefTraces, ledgerMapRefCallers, ledgerMapStacks, ledgerMapRefState,
}

// findLedgerMaps opens the maps of the program that runs at reference sites.
func findLedgerMaps() (map[string]*ebpf.Map, error) {
	var last []ebpf.MapID
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("going through the kernel's BPF programs: %w", err)
		}
		id = next
		if ids, ok := mapsOf(id, ledgerProgSiteKprobe); ok {
			last = ids
		}
	}
	if last == nil {
		return nil, ErrNoLedger
	}
	found := make(map[string]*ebpf.Map)
	for _, id := range last {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("opening a map of the ledger: %w", err), closeMaps(found))
		}
		info, err := m.Info()
		if err != nil || !slices.Contains(mapsOfLedger, info.Name) || found[info.Name] != nil {
			_ = m.Close()
			continue
		}
		found[info.Name] = m
	}
	if len(found) < len(mapsOfLedger) {
		return nil, errors.Join(fmt.Errorf("%w: the one that there is has other maps, of another version", ErrNoLedger), closeMaps(found))
	}
	return found, nil
}

func closeMaps(all map[string]*ebpf.Map) error {
	var errs []error
	for m := range maps.Values(all) {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// mapsOf are the maps of a program, if it has this name.
func mapsOf(id ebpf.ProgramID, name string) ([]ebpf.MapID, bool) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return nil, false // gone meanwhile
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil || info.Name != name {
		return nil, false
	}
	return info.MapIDs()
}

// adoptLedger makes a ledger of another's maps: an iterator of its own over them, and
// the sites as the map of sites and this kernel's symbols have them.
func adoptLedger(ctx context.Context, k Kernel, theirs map[string]*ebpf.Map) (*ledger, error) {
	info, err := theirs[ledgerMapRefLedgers].Info()
	if err != nil {
		return nil, err
	}
	table, err := readSites(k, theirs[ledgerMapRefSites])
	if err != nil {
		return nil, err
	}
	table.room = (int(info.ValueSize) - ledgerHead) / 8
	ring, err := ebpf.NewMap(&ebpf.MapSpec{Name: "ring", Type: ebpf.RingBuf, MaxEntries: uint32(os.Getpagesize())})
	if err != nil {
		return nil, fmt.Errorf("making a ring buffer: %w", err)
	}
	// The programs that would use it are not loaded.
	defer func() { _ = ring.Close() }()
	options := LedgerOptions{Devices: info.MaxEntries}
	set := &set{
		detector: DetectorRefs, spec: loadLedger, points: ledgerPoints[:2], maps: theirs,
		configure: func(spec *ebpf.CollectionSpec) error {
			err := options.configure(spec, k, table)
			for _, name := range []string{ledgerMapRefTraces, ledgerMapRefSites} {
				spec.Maps[name].MaxEntries = theirs[name].MaxEntries()
			}
			return err
		},
	}
	o, err := set.load(ctx, k, ring, nil)
	if err != nil {
		if o != nil {
			err = errors.Join(err, o.Close())
		}
		return nil, err
	}
	return &ledger{object: o, table: table}, nil
}

// readSites reads which sites another netns-trace watches.
func readSites(k Kernel, sites *ebpf.Map) (*siteTable, error) {
	symbols := k.Symbols()
	if symbols == nil {
		return nil, errSymbolsHidden
	}
	t := &siteTable{byPlace: make(map[string]*watchedSite), byProbe: make(map[uint64]*watchedSite)}
	var err error
	if t.families, err = refsite.LoadFamilies(); err != nil {
		return nil, err
	}
	all := make([]wireSite, sites.MaxEntries())
	if _, err := sites.BatchLookup(new(ebpf.MapBatchCursor), make([]uint32, len(all)), all, nil); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, fmt.Errorf("reading the reference sites: %w", err)
	}
	for _, w := range all {
		if w.Address == 0 {
			continue // a free slot
		}
		if w.ID >= maxSites {
			return nil, fmt.Errorf("a reference site has number %d", w.ID)
		}
		addr := w.Address + uint64(int64(w.Ahead)) // the probe may be before or behind it
		f, ok := symbols.Resolve(addr)
		if !ok {
			continue // its module was unloaded
		}
		s := &watchedSite{
			id:   w.ID,
			Site: refsite.Site{Addr: addr, Symbol: f.Symbol, Offset: f.Offset, Module: f.Module, Op: refsite.Hold},
		}
		if w.Flags&sitePut != 0 {
			s.Op = refsite.Put
		}
		s.family, _ = t.families.Of(s.Symbol, s.Module)
		s.getter = w.Flags&siteGetter != 0
		for len(t.byID) <= int(w.ID) {
			t.byID = append(t.byID, nil)
		}
		t.byID[w.ID] = s
	}
	return t, nil
}
