// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/refsite"
)

// errNoTracker says that the kernel does not track references itself.
var errNoTracker = errors.New("the kernel has no tracker of device references (CONFIG_NET_DEV_REFCNT_TRACKER)")

// hasTracker reports whether the kernel tracks device references itself.
func (k *Kernel) hasTracker() bool {
	return k.need("net_device.refcnt_tracker", "ref_tracker_dir.list", "ref_tracker.head",
		"ref_tracker.alloc_stack_handle", "stack_record.entries") == nil
}

// Bounds on what is read of a tracker and of a stack.
const (
	maxTracked      = 1 << 16
	maxTrackedDepth = 64
)

// tracked reads what the kernel's own tracker (lib/ref_tracker.c) has of a device: the
// references that were taken and not given back, by the call trace that took them. Those
// taken by dev_hold(), which has no tracker, are not in it. The list may change meanwhile: it
// is Partial if its end was not found.
func (k *Kernel) tracked(d *Device) (*record.RefTracker, error) {
	if !k.hasTracker() {
		return nil, errNoTracker
	}
	dir, _ := k.at(d.Addr, "net_device.refcnt_tracker")
	list, _ := k.at(dir, "ref_tracker_dir.list")
	head, _ := k.field("ref_tracker.head")
	counts := make(map[depotPlace]uint64)
	var order []depotPlace
	seen := 0
	whole := k.memory.EachInList(list, uint64(head.Offset), func(ref uint64) {
		handle, ok := k.get(ref, "ref_tracker.alloc_stack_handle")
		if seen++; !ok || seen > maxTracked {
			return
		}
		place := k.depotPlace(uint32(handle))
		if counts[place]++; counts[place] == 1 {
			order = append(order, place)
		}
	})
	families, err := refsite.LoadFamilies()
	if err != nil {
		return nil, err
	}
	ledger := record.RefLedger{
		Dev: d.Addr, Netns: d.Netns, Ifindex: d.Ifindex, Name: d.Name,
		Settled: true, Partial: !whole || seen > maxTracked,
	}
	for _, place := range order {
		site := k.trackedSite(families, k.depotStack(place), counts[place])
		ledger.Sites = append(ledger.Sites, site)
		ledger.Balance += int64(site.Hits)
	}
	return &record.RefTracker{Ledger: ledger}, nil
}

// trackedSite is what one call trace took.
func (k *Kernel) trackedSite(families refsite.Families, stack []uint64, count uint64) record.RefSite {
	for len(stack) > 0 && k.isTracking(stack[0]) {
		stack = stack[1:]
	}
	site := record.RefSite{Place: "a call trace that could not be read", Family: "not known", Hits: count}
	for i, addr := range stack {
		// A return address is behind the call, which may be its function's last instruction.
		f, ok := k.symbols.Resolve(addr - 1)
		if !ok {
			continue
		}
		if i == 0 {
			site.Place = fmt.Sprintf("%s+%#x", f.Symbol, f.Offset+1)
			if f.Module != "" {
				site.Place += " [" + f.Module + "]"
			}
		}
		site.Family, _ = families.Of(f.Symbol, f.Module)
		if site.Family != refsite.Lookup {
			break
		}
	}
	site.Traces = []record.RefTrace{{Family: site.Family, Count: count, Kernel: stack}}
	return site
}

// isTracking reports whether a frame is the tracker's own.
func (k *Kernel) isTracking(addr uint64) bool {
	f, ok := k.symbols.Resolve(addr - 1)
	return ok && (f.Symbol == "ref_tracker_alloc" || f.Symbol == "netdev_tracker_alloc")
}

// depotStack reads a call trace of lib/stackdepot.c, innermost first; nil when there is
// none. Where the pools are is an array of pointers, or a pointer to one; a record has its
// own handle, by which the right one is known.
func (k *Kernel) depotStack(place depotPlace) []uint64 {
	pools, ok := k.Address("stack_pools")
	if !ok {
		pools, ok = k.Address("stack_slabs") // before 6.3
	}
	if !ok || !place.known {
		return nil
	}
	arrays := []uint64{pools}
	if at, err := k.memory.Uint64(pools); err == nil {
		arrays = append(arrays, at)
	}
	for _, array := range arrays {
		pool, err := k.memory.Uint64(array + 8*place.pool)
		if err != nil || pool == 0 {
			continue
		}
		if stack, ok := k.depotRecord(pool+place.offset, place); ok {
			return stack
		}
	}
	return nil
}

// depotPlace is where a call trace is: in which pool, and how many bytes from its begin.
type depotPlace struct {
	pool, offset uint64
	known        bool
}

// depotPlace takes a handle apart. What else is in one differs between takers of the same
// trace.
func (k *Kernel) depotPlace(handle uint32) depotPlace {
	value := func(path string) (uint64, bool) {
		f, ok := k.field(path)
		if !ok || f.Offset+f.Size > 4 || f.Bits == 0 {
			return 0, false
		}
		return uint64(handle) >> (8*f.Offset + uint32(f.Shift)) & (1<<f.Bits - 1), true
	}
	for _, path := range []string{"handle_parts.pool_index_plus_1", "handle_parts.pool_index", "handle_parts.slab_index", "handle_parts.slabindex"} {
		n, ok := value(path)
		if !ok {
			continue
		}
		if path == "handle_parts.pool_index_plus_1" { // since 6.9
			n--
		}
		offset, known := value("handle_parts.offset")
		if !known || n >= 1<<20 {
			break
		}
		const align = 4 // DEPOT_STACK_ALIGN: records begin at multiples of 16
		return depotPlace{n, offset << align, true}
	}
	return depotPlace{}
}

func (k *Kernel) depotRecord(addr uint64, place depotPlace) ([]uint64, bool) {
	own, ok := k.get(addr, "stack_record.handle.handle")
	size, known := k.get(addr, "stack_record.size")
	entries, _ := k.at(addr, "stack_record.entries")
	if !ok || !known || size == 0 || size > maxTrackedDepth || k.depotPlace(uint32(own)) != place {
		return nil, false
	}
	raw := make([]byte, 8*size)
	if err := k.memory.Read(raw, entries); err != nil {
		return nil, false
	}
	stack := make([]uint64, size)
	for i := range stack {
		stack[i] = binary.LittleEndian.Uint64(raw[8*i:])
	}
	return stack, true
}
