// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/refsite"
)

// The kernel's own functions for references that it tracks one by one.
const (
	trackerAlloc = "ref_tracker_alloc"
	trackerFree  = "ref_tracker_free"
)

// trackerPoints are for a kernel that tracks references itself. It has fentry.
var trackerPoints = []point{
	{
		thing:    "references being taken, as the kernel tracks them",
		ways:     []Way{{Fexit, trackerAlloc, []string{ledgerProgTrackedFexit}}},
		required: true,
	},
	{
		thing:    "references given back, as the kernel tracks them",
		ways:     []Way{{Fentry, trackerFree, []string{ledgerProgUntrackedFentry}}},
		required: true,
	},
}

var errNoTracker = errors.New("this kernel does not track references itself (CONFIG_NET_DEV_REFCNT_TRACKER)")

// tracksReferences reports whether the kernel has an object for each reference of a
// net_device. Without CONFIG_NET_DEV_REFCNT_TRACKER the type netdevice_tracker is
// empty.
func tracksReferences(types *kernel.Types) (bool, error) {
	if ok, err := types.HasFunc(trackerAlloc); err != nil || !ok {
		return false, err
	}
	device, err := types.Struct("net_device")
	if err != nil {
		return false, err
	}
	at := slices.IndexFunc(device.Members, func(m btf.Member) bool { return m.Name == "dev_registered_tracker" })
	if at < 0 {
		return false, nil
	}
	size, err := btf.Sizeof(device.Members[at].Type)
	if err != nil {
		return false, fmt.Errorf("asking for the size of netdevice_tracker: %w", err)
	}
	return size > 0, nil
}

// openTracked keeps the ledger by the kernel's own objects.
func openTracked(ctx context.Context, k Kernel, ring *ebpf.Map, o Options) (*ledger, error) {
	families, err := refsite.LoadFamilies()
	if err != nil {
		return nil, err
	}
	// One place has all of them; what a reference is for its caller says.
	place := &watchedSite{Site: refsite.Site{Symbol: trackerAlloc, Op: refsite.Hold}, family: refsite.Lookup, getter: true}
	l := &ledger{tracked: true, table: &siteTable{families: families, room: 1, found: 1, byID: []*watchedSite{place}}}
	set := &set{
		detector: DetectorRefs, spec: loadLedger, points: slices.Concat(ledgerPoints, trackerPoints),
		configure: func(spec *ebpf.CollectionSpec) error {
			spec.Maps[ledgerMapRefTracked].MaxEntries = maxTracked
			return o.Refs.Ledger.configure(spec, k, l.table)
		},
	}
	if l.object, err = set.load(ctx, k, ring, o.Avoid); err != nil {
		return l, err
	}
	return l, l.begin()
}

// maxTracked is MAX_TRACKED in bpf/ledger_tracker.h.
const maxTracked = 65536

// beyondTracker is what of a call trace is above the kernel's own tracker, and the
// program that runs in it.
func beyondTracker(stack []uint64, symbols *kernel.Symbols) []uint64 {
	if symbols == nil {
		return stack
	}
	for i, pc := range stack {
		if f, ok := symbols.Resolve(pc); ok && f.Symbol == trackerAlloc {
			return stack[i+1:]
		}
	}
	return stack
}
