// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netns-trace/netns-trace/pkg/holders/btftest"
	"github.com/netns-trace/netns-trace/pkg/holders/structs"
	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// trackerTypes are those of a kernel with CONFIG_NET_DEV_REFCNT_TRACKER, 6.9 or later.
func trackerTypes(t *testing.T) *structs.Set {
	t.Helper()
	types, err := structs.New(btftest.New().
		Struct("list_head", 16, member{Name: "next", Type: "void*"}, member{Name: "prev", Offset: 8, Type: "void*"}).
		Struct("ref_tracker_dir", 16, member{Name: "list", Type: "list_head"}).
		Struct("net_device", 192, member{Name: "refcnt_tracker", Offset: 128, Type: "ref_tracker_dir"}).
		Struct("ref_tracker", 24, member{Name: "head", Type: "list_head"}, member{Name: "alloc_stack_handle", Offset: 16, Type: "u32"}).
		Struct("handle_parts", 4, member{Name: "handle", Type: "u32"}, member{Name: "pool_index_plus_1", Bits: 17, Type: "u32"},
			member{Name: "offset", Bit: 17, Bits: 10, Type: "u32"}, member{Name: "extra", Bit: 27, Bits: 5, Type: "u32"}).
		Struct("stack_record", 64, member{Name: "size", Offset: 16, Type: "u32"}, member{Name: "handle", Offset: 20, Type: "handle_parts"},
			member{Name: "entries", Offset: 24, Type: "[4]u64"}).
		Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return types
}

const (
	atPools                        = imageAt + 0xb00
	trackerAlloc, bindText, byName = imageAt + 0x2100, imageAt + 0x2200, imageAt + 0x2300
)

func trackerSymbols(t *testing.T) *kernel.Symbols {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%x D stack_pools\n%x T _text\n", uint64(atPools), uint64(imageAt+0x2000))
	for addr, name := range map[uint64]string{trackerAlloc: "ref_tracker_alloc", bindText: "llc_ui_bind", byName: "dev_get_by_name", imageAt + 0x3000: "_etext"} {
		fmt.Fprintf(&b, "%x T %s\n", addr, name)
	}
	symbols, err := kernel.ReadSymbols(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return symbols
}

// ref_tracker: hold7 has 2/3 users at llc_ui_bind, and 1/3 at whoever calls dev_get_by_name.
func TestTheKernelsOwnTrackerIsRead(t *testing.T) {
	for name, pointer := range map[string]bool{"pools in an array": false, "pools behind a pointer": true} {
		t.Run(name, func(t *testing.T) {
			m, k := newMachine(t)
			k.types, k.symbols, k.fields = trackerTypes(t), trackerSymbols(t), make(map[string]structs.Field)
			dev, pool := slabObject(theDevice), slabObject(13)
			pools := uint64(atPools)
			if pointer {
				pools = slabObject(14)
				m.put(atPools, map[int]uint64{0: pools})
			}
			m.put(pools, map[int]uint64{8: pool})
			const one, two = 2 | 2<<17, 2 | 6<<17 // pool 1, at 32 and at 96
			m.put(pool+32, map[int]uint64{16: 2 | one<<32, 24: trackerAlloc + 5, 32: bindText + 0x10})
			m.put(pool+96, map[int]uint64{16: 2 | two<<32, 24: byName + 8, 32: bindText + 0x20})
			refs := []uint64{slabObject(10), slabObject(12), slabObject(15)}
			m.list(append([]uint64{dev + 128}, refs...)...)
			// A taker of the same call trace may have bits of its own in the handle.
			for i, handle := range []uint64{one, one | 3<<27, two} {
				m.put(refs[i], map[int]uint64{16: handle})
			}
			k.memory.Forget()

			got, err := k.tracked(&Device{Addr: dev, Name: "hold7", Ifindex: 5})
			if err != nil {
				t.Fatal(err)
			}
			site := func(place, family string, count uint64, stack ...uint64) record.RefSite {
				return record.RefSite{Place: place, Family: family, Hits: count, Traces: []record.RefTrace{{Family: family, Count: count, Kernel: stack}}}
			}
			want := &record.RefTracker{Ledger: record.RefLedger{
				Dev: dev, Name: "hold7", Ifindex: 5, Settled: true, Balance: 3,
				Sites: []record.RefSite{
					site("llc_ui_bind+0x10", "AF_LLC socket", 2, bindText+0x10),
					site("dev_get_by_name+0x8", "AF_LLC socket", 1, byName+8, bindText+0x20),
				},
			}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("tracked (-want +got):\n%s", diff)
			}
		})
	}
}

// A kernel without the tracker has an empty struct in its place.
func TestAKernelWithoutATrackerHasNone(t *testing.T) {
	_, k := newMachine(t)
	if _, err := k.tracked(&Device{Addr: slabObject(theDevice)}); err == nil || k.hasTracker() {
		t.Error("a tracker was found where there is none")
	}
}
