// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/netns-trace/netns-trace/pkg/refsite"
	"github.com/netns-trace/netns-trace/pkg/textprobe"
)

// siteTable knows the reference sites by their number in the ledgers. A number stays
// with its place: a module that comes back to another address keeps its counts.
type siteTable struct {
	families refsite.Families
	hot      refsite.Families
	allHot   bool // hot sites are watched too
	jumps    bool // where the kernel can make jumps of probes, it may
	room     int  // sites that a ledger has room for
	found    int  // sites, those included that are not watched
	byID     []*watchedSite
	slots    slots
	byPlace  map[string]*watchedSite
	byProbe  map[uint64]*watchedSite // by the address of the probe
	notUsed  map[string]string       // places that may not be probed, and why
}

// watchedSite is a site with its number.
type watchedSite struct {
	refsite.Site
	id     uint32
	family string
	getter bool
	spot   spot
}

// spot is where the probe of a site is.
type spot uint8

const (
	inPlace spot = iota
	// atLoad: on the load before the site the kernel can replace the probe's breakpoint
	// by a jump, on the site itself it mostly cannot.
	atLoad
	// behind: where it cannot, although on the site it could. A hold is then counted
	// nanoseconds after it was taken, and so is a put: that is too late for a device
	// that is freed meanwhile, which waits for its last reference for much longer.
	behind
)

// probe is the address to probe.
func (s *watchedSite) probe() uint64 {
	switch s.spot {
	case atLoad:
		return s.LoadAddr
	case behind:
		return s.AfterAddr
	}
	return s.Addr
}

// choose takes the best spot that the site has.
func (s *watchedSite) choose(jumps bool) {
	s.spot = inPlace
	switch {
	case jumps && s.LoadAddr != 0:
		s.spot = atLoad
	case !jumps && s.AfterAddr != 0:
		s.spot = behind
	}
}

// wireSite is struct site of bpf/ledger_site.h.
type wireSite struct {
	Address  uint64
	ID       uint32
	Register uint8
	Ahead    int8
	Flags    uint16
	Stacked  uint64
	Refused  uint64
}

const (
	sitePut    = 1
	siteGetter = 2
	siteDevice = 4
)

func (s *watchedSite) wire() wireSite {
	w := wireSite{Address: s.probe(), ID: s.id, Register: uint8(s.Register)}
	w.Ahead = int8(s.Addr - w.Address)
	switch {
	case s.spot == atLoad:
		w.Register, w.Flags = uint8(s.Base), siteDevice
	case s.spot == behind && s.AfterDevice:
		w.Register, w.Flags = uint8(s.AfterRegister), siteDevice
	}
	if s.Op == refsite.Put {
		w.Flags |= sitePut
	}
	if s.getter {
		w.Flags |= siteGetter
	}
	return w
}

func (s *watchedSite) place() string { return placeOf(&s.Site) }

func placeOf(s *refsite.Site) string {
	place := fmt.Sprintf("%s+%#x", s.Symbol, s.Offset)
	if s.Module != "" {
		place += " [" + s.Module + "]"
	}
	return place
}

func findSites(ctx context.Context, k Kernel, o LedgerOptions) (*siteTable, error) {
	t := &siteTable{
		allHot: o.Hot, jumps: o.Jumps, byPlace: make(map[string]*watchedSite), byProbe: make(map[uint64]*watchedSite),
		notUsed: make(map[string]string),
	}
	var err error
	if t.families, err = refsite.LoadFamilies(); err != nil {
		return nil, err
	}
	if t.hot, err = refsite.LoadHot(); err != nil {
		return nil, err
	}
	symbols := k.Symbols()
	if symbols == nil {
		return nil, errSymbolsHidden
	}
	sites, err := refsite.Running(ctx, symbols, k.Types)
	if err != nil {
		return nil, fmt.Errorf("looking for reference sites: %w", err)
	}
	t.room = min(len(sites)+spareSites, maxSites)
	t.slots = newSlots(t.room)
	t.add(sites)
	return t, nil
}

// put gives a site its number, if it is to be watched.
func (t *siteTable) put(s *refsite.Site) *watchedSite {
	t.found++
	place := placeOf(s)
	switch {
	case s.Refused != "":
		t.notUsed[place] = string(s.Refused)
		return nil
	case refsite.Skipped(s, t.hot, t.allHot) != "":
		return nil
	}
	w := t.byPlace[place]
	if w == nil {
		if len(t.byID) == t.room {
			t.notUsed[place] = "more sites than the ledgers have room for"
			return nil
		}
		w = &watchedSite{id: uint32(len(t.byID))}
		t.byID = append(t.byID, w)
		t.byPlace[place] = w
	}
	t.leave(w)
	w.Site = *s
	w.choose(t.jumps)
	w.family, _ = t.families.Of(s.Symbol, s.Module)
	w.getter = w.family == refsite.Lookup
	t.byProbe[w.probe()] = w
	return w
}

// leave forgets where the probe of a site was.
func (t *siteTable) leave(w *watchedSite) {
	delete(t.byProbe, w.probe())
	t.slots.free(w.probe())
}

// add gives sites their numbers, and returns those that are to be watched.
func (t *siteTable) add(sites []refsite.Site) []*watchedSite {
	var fresh []*watchedSite
	for i := range sites {
		if w := t.put(&sites[i]); w != nil {
			fresh = append(fresh, w)
		}
	}
	return fresh
}

// refuse takes in that the kernel lets nobody probe there. A site for which it was another
// instruction is returned, to be probed itself.
func (t *siteTable) refuse(addr uint64, why error) *watchedSite {
	w := t.byProbe[addr]
	switch {
	case w == nil:
		return nil
	case addr != w.Addr && !errors.Is(why, textprobe.ErrModuleGone):
		t.leave(w)
		w.spot = inPlace
		t.byProbe[w.Addr] = w
		return w
	}
	t.notUsed[w.place()] = reason(why)
	return nil
}

type siteRefusal struct{ place, reason string }

// refused lists the sites that are not watched, by place.
func (t *siteTable) refused() []siteRefusal {
	var out []siteRefusal
	for _, place := range slices.Sorted(maps.Keys(t.notUsed)) {
		out = append(out, siteRefusal{place, t.notUsed[place]})
	}
	return out
}

// watched lists the sites in the order in which to attach to them: first those whose
// references are the ones that leak.
func (t *siteTable) watched() []*watchedSite {
	sites := slices.Clone(t.byID)
	slices.SortStableFunc(sites, func(a, b *watchedSite) int { return cmp.Compare(rank(a), rank(b)) })
	return sites
}

// firstFamilies are those behind most reports of devices that were never freed.
var firstFamilies = []string{refsite.Lookup, "dst", "neighbour", "nexthop", "in_device", "inet6_dev", "AF_LLC socket", "CAN socket", "packet_socket"}

func rank(s *watchedSite) int {
	if i := slices.Index(firstFamilies, s.family); i >= 0 {
		return i
	}
	return len(firstFamilies)
}
