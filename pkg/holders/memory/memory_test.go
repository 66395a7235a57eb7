// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

func TestPagesWithoutObjectsOfTheKernelAreToldApart(t *testing.T) {
	m, memory := newMachine(t, false)
	m.page(1, map[int]uint64{})                               // free: no count
	m.page(2, map[int]uint64{48: inUse, 24: 0xffff888000001}) // mapped: a page of a file or a process
	m.page(3, map[int]uint64{48: inUse, 0: flagLRU})
	m.page(4, map[int]uint64{48: inUse})                  // a page of vmalloc, a stack
	m.page(5, map[int]uint64{8: metaAddr(4) | 1})         // its tail
	m.page(6, map[int]uint64{48: 0xf8 << 24})             // a large kmalloc, without a count
	m.page(7, map[int]uint64{48: 0xffffffff, 24: 0})      // _mapcount -1 and no count: free
	m.page(10, map[int]uint64{8: 0xfffffffffffffe00 | 1}) // 7.0: a mask, here of 8 pages
	for n, want := range map[int]PageClass{
		1: FreePage, 2: UserPage, 3: UserPage, 4: KernelPage, 5: KernelPage, 6: KernelPage, 7: FreePage,
		8: SlabPage, 9: SlabPage, 10: SlabPage, imagePage: ReservedPage,
	} {
		page, err := memory.PageOf(pageAddr(n) + 17)
		if err != nil || page.Class != want {
			t.Errorf("page %d: %s, %v, want %s", n, page.Class, err, want)
		}
	}
	if _, err := memory.PageOf(0xffffc90000000000); err == nil {
		t.Error("an address of vmalloc is taken for memory as a whole")
	}
}

func TestAnObjectIsFoundByAnAddressInIt(t *testing.T) {
	m, memory := newMachine(t, false)
	live := pageAddr(8) + 3*256
	m.put64(live+64, 42) // of an object in use, no free pointer
	o, ok := memory.ObjectAt(live + 100)
	if !ok || o.Start != live || o.Free || o.Cache.Name != "kmalloc-256" || o.Cache.ObjectSize != 200 || o.Cache.Merged {
		t.Fatalf("object %+v, %v", o, ok)
	}
	if o, ok := memory.ObjectAt(pageAddr(9) + 256); !ok || o.Start != pageAddr(9)+256 {
		t.Errorf("in the tail of the slab: %+v, %v", o, ok)
	}
	if _, ok := memory.ObjectAt(live + 220); ok {
		t.Error("the padding behind an object is taken for it")
	}
	if _, ok := memory.ObjectAt(pageAddr(4)); ok {
		t.Error("a page that is of no slab has an object")
	}
}

// A free object is never named: its memory still has what it pointed at.
func TestFreeObjectsAreRecognised(t *testing.T) {
	m, memory := newMachine(t, false)
	first, last := pageAddr(8), pageAddr(8)+256
	m.freeObject(first, last)
	m.freeObject(last, 0)
	m.put64(pageAddr(8)+512+64, last) // in use, and has the address of another in the clear
	for n, want := range []bool{true, true, false} {
		o, ok := memory.ObjectAt(pageAddr(8) + uint64(n)*256 + 8)
		if !ok || o.Free != want {
			t.Errorf("object %d: free %v, want %v", n, o.Free, want)
		}
	}
}

// Without init_on_alloc an object in use may have the free pointer that it had.
func TestAnObjectThatWasNotZeroedIsFreeOnlyIfItIsListed(t *testing.T) {
	m, memory := newMachine(t, false)
	first, last := pageAddr(8), pageAddr(8)+256
	m.freeObject(first, last)
	m.freeObject(last, 0)
	m.page(8, map[int]uint64{32: last})
	lists, err := New(m, memory.types, without{m, "init_on_alloc"})
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[uint64]bool{first: false, last: true} {
		if o, ok := lists.ObjectAt(at + 8); !ok || o.Free != want {
			t.Errorf("object at %#x: free %v, want %v", at, o.Free, want)
		}
	}
}

// KFENCE puts an object at the end of a page, or at its begin, which the slab's own
// order would not tell, and knows itself which are in use.
func TestObjectsOfKfenceAreFoundWhereItPutThem(t *testing.T) {
	const inArray, byPointer = imageAt + 64, ramAt + 20*PageSize
	for name, metadata := range map[string]uint64{"an array, before 6.6": inArray, "by a pointer": byPointer} {
		t.Run(name, func(t *testing.T) {
			m, plain := newMachine(t, false)
			const pool = uint64(ramAt + 30*PageSize)
			m.put64(imageAt+56, pool)
			if metadata == byPointer {
				m.put64(imageAt+64, byPointer)
			}
			first, second, gone := pool+3*PageSize-200, pool+4*PageSize, pool+6*PageSize
			for n, o := range []struct{ at, state uint64 }{{first, 1}, {second, 1}, {gone, 2}} {
				entry := metadata + uint64(n)*64
				m.put64(entry+16, o.state)
				m.put64(entry+24, o.at)
				m.put64(entry+32, 200)
				m.put64(entry+40, cacheAt)
			}
			for n := 32; n <= 36; n += 2 {
				m.page(n, map[int]uint64{16: cacheAt, 40: 1 << 16, 48: slabType})
			}
			memory, err := New(m, plain.types, m)
			if err != nil {
				t.Fatal(err)
			}
			for _, test := range []struct {
				addr, start uint64
				free        bool
			}{{first + 8, first, false}, {second + 192, second, false}, {gone, gone, true}} {
				o, ok := memory.ObjectAt(test.addr)
				if !ok || o.Start != test.start || o.Free != test.free {
					t.Errorf("%#x: object at %#x, free %v, found %v; want %#x, %v", test.addr, o.Start, o.Free, ok, test.start, test.free)
				}
			}
			if o, ok := memory.ObjectAt(first - 8); ok {
				t.Errorf("before the object there is one at %#x", o.Start)
			}
			if o, ok := memory.ObjectAt(pageAddr(8) + 8); !ok || o.Start != pageAddr(8) {
				t.Errorf("an object of a slab is not found any more: %#x, %v", o.Start, ok)
			}
		})
	}
}

// Since 6.18 free objects are kept in sheaves too, and have no free pointer there.
func TestObjectsInSheavesAreFree(t *testing.T) {
	m, memory := newMachine(t, true)
	const cpuSheaves, sheaf = imageAt + 0x300, imageAt + 0x400
	free, live := pageAddr(8)+256, pageAddr(8)+512
	m.put64(free+64, 42)
	m.put64(live+64, 42)
	m.put64(cacheAt+56, cpuSheaves)
	m.put64(cpuSheaves+8, sheaf)
	m.put32(sheaf+24, 1)
	m.put64(sheaf+32, free)
	m.put64(sheaf+40, live) // beyond its size
	if o, ok := memory.ObjectAt(free); !ok || !o.Free {
		t.Error("an object in a sheaf is taken for one in use")
	}
	if o, ok := memory.ObjectAt(live); !ok || o.Free {
		t.Error("an object that a sheaf had once is taken for free")
	}
}

func TestASearchFindsWordsWhereObjectsCanBe(t *testing.T) {
	m, memory := newMachine(t, false)
	const device, queue = ramAt + 0x8100, ramAt + 0x9200
	m.page(4, map[int]uint64{48: inUse})
	m.page(2, map[int]uint64{48: inUse, 0: flagLRU})
	m.put64(pageAddr(8)+16, device)
	m.put64(pageAddr(9)+24, queue)
	m.put64(pageAddr(4)+PageSize-8, device)
	m.put64(pageAddr(1), device)                           // a free page
	m.put64(pageAddr(2), device)                           // a page of a process
	m.put64(pageAddr(8)+32, device+1)                      // another word
	copy(m.ram[8*PageSize+44:], m.ram[8*PageSize+16:][:8]) // not aligned
	m.put64(imageAt+0x800, device)
	hits, stats, err := memory.Scan(t.Context(), NewTargets([]uint64{device, queue}), Limits{MaxHits: 10})
	if err != nil {
		t.Fatal(err)
	}
	want := []Hit{
		{pageAddr(4) + PageSize - 8, 0, KernelPage},
		{pageAddr(8) + 16, 0, SlabPage},
		{pageAddr(9) + 24, 1, SlabPage},
		{pageAddr(imagePage) + 0x800, 0, ReservedPage},
	}
	if !slices.Equal(hits, want) {
		t.Errorf("hits %+v\nwant %+v", hits, want)
	}
	if stats.Read() != 1+2+4 || stats.Vanished != 0 {
		t.Errorf("read %d pages, %d vanished", stats.Read(), stats.Vanished)
	}
}

func TestEmptyListsAreFound(t *testing.T) {
	m, memory := newMachine(t, false)
	m.put64(pageAddr(8)+40, pageAddr(8)+40)
	m.put64(pageAddr(9)+80, pageAddr(8)+80)
	hits, _, err := memory.Scan(t.Context(), SelfPointers{}, Limits{MaxHits: 10})
	if err != nil || len(hits) != 1 || hits[0].Addr != pageAddr(8)+40 {
		t.Errorf("found %+v, %v", hits, err)
	}
}

func TestPagesThatVanishAreSkippedAndCounted(t *testing.T) {
	m, memory := newMachine(t, false)
	for n := 40; n < 50; n++ {
		m.page(n, map[int]uint64{48: inUse})
		m.put64(pageAddr(n), ramAt+0x100)
	}
	m.missing[pageAddr(43)], m.missing[pageAddr(49)] = true, true
	hits, stats, err := memory.Scan(t.Context(), NewTargets([]uint64{ramAt + 0x100}), Limits{MaxHits: 100})
	if err != nil || len(hits) != 8 || stats.Vanished != 2 || stats.NotSaved != 0 {
		t.Errorf("%d hits, %d pages vanished, %d not saved, %v", len(hits), stats.Vanished, stats.NotSaved, err)
	}
	// Of a saved memory they are told apart, and are the same in each search.
	m.unsaved = true
	_, again, err := memory.Scan(t.Context(), NewTargets([]uint64{ramAt + 0x100}), Limits{MaxHits: 100})
	first := again
	again.Add(first)
	if err != nil || first.Vanished != 0 || again.NotSaved != 2 {
		t.Errorf("%d pages vanished, %d not saved, %v", first.Vanished, again.NotSaved, err)
	}
}

func TestASearchKeepsItsLimits(t *testing.T) {
	m, memory := newMachine(t, false)
	for n := range 60 {
		m.page(n, map[int]uint64{48: inUse})
		m.put64(pageAddr(n), ramAt+0x100)
	}
	targets := NewTargets([]uint64{ramAt + 0x100})
	hits, stats, err := memory.Scan(t.Context(), targets, Limits{MaxHits: 10})
	if err != nil || len(hits) != 10 || stats.Dropped != 50 {
		t.Errorf("%d hits, %d dropped, %v", len(hits), stats.Dropped, err)
	}
	started := time.Now()
	if _, _, err := memory.Scan(t.Context(), targets, Limits{BytesPerSecond: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(started); took < 200*time.Millisecond {
		t.Errorf("256 KiB at 1 MiB a second took %s", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := memory.Scan(ctx, targets, Limits{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a search that was cancelled: %v", err)
	}
}

// Who keeps what it looks for in the clear finds itself: on a real machine that grew
// until memory ran out.
func TestTargetsAreNotInMemory(t *testing.T) {
	words := []uint64{0xffff888012345678, 0xffff8880deadbeef, 0xffff888000000008}
	targets := NewTargets(words)
	kept := append([]uint64{targets.low, targets.span, targets.low + targets.span, targets.mask}, targets.sorted...)
	for _, w := range words {
		if slices.Contains(kept, w) || slices.Contains(targets.filter[:], w) {
			t.Errorf("%#x is kept in the clear", w)
		}
	}
}

func TestMemoryOfAnotherKindIsRefused(t *testing.T) {
	m, memory := newMachine(t, false)
	m.put64(imageAt, pagesAt)
	for _, missing := range []string{"vmemmap_base", "__per_cpu_offset"} {
		_, err := New(m, memory.types, without{m, missing})
		if !errors.Is(err, ErrLayout) {
			t.Errorf("without %s: %v, want ErrLayout", missing, err)
		}
	}
}

// A count over too few processors is a wrong count.
func TestProcessorsAreCountedOrTheSearchIsRefused(t *testing.T) {
	m, memory := newMachine(t, false)
	fixed, err := New(m, memory.types, without{m, "nr_cpu_ids"})
	if err != nil || len(memory.CPUs(0)) != 1 || len(fixed.CPUs(0)) != 2 {
		t.Fatalf("with nr_cpu_ids %d, without %d, %v", len(memory.CPUs(0)), len(fixed.CPUs(0)), err)
	}
	if _, err := New(m, memory.types, without{without{m, "nr_cpu_ids"}, "__cpu_possible_mask"}); !errors.Is(err, ErrLayout) {
		t.Errorf("with neither: %v, want ErrLayout", err)
	}
}

// without is symbols of which one is missing.
type without struct {
	Symbols
	name string
}

func (w without) Address(name string) (uint64, bool) {
	if name == w.name {
		return 0, false
	}
	return w.Symbols.Address(name)
}

func TestAddressesAreTranslatedByPageTables(t *testing.T) {
	m, memory := newMachine(t, false)
	// Four levels, the last page mapped by itself, the next by a large page.
	const virtual, large = 0xffffc90000123000, 0xffffc90000200000
	memory.tables = pageAddr(30)
	index := func(level uint) uint64 { return uint64(virtual) >> (12 + 9*level) & 511 * 8 }
	m.put64(pageAddr(30)+index(3), 31*PageSize|1)
	m.put64(pageAddr(31)+index(2), 32*PageSize|1)
	m.put64(pageAddr(32)+index(1), 33*PageSize|1)
	m.put64(pageAddr(33)+index(0), 8*PageSize|1|1<<63)
	m.put64(pageAddr(32)+index(1)+8, 0|1|1<<7)
	for addr, want := range map[uint64]uint64{
		virtual + 5: pageAddr(8) + 5, large + 0x3007: ramAt + 0x3007, pageAddr(7): pageAddr(7), imageAt + 8: pageAddr(imagePage) + 8,
	} {
		if got, ok := memory.Translate(addr); !ok || got != want {
			t.Errorf("%#x is at %#x, %v, want %#x", addr, got, ok, want)
		}
	}
	if _, ok := memory.Translate(virtual + PageSize); ok {
		t.Error("an address that is not mapped is translated")
	}
	got := make(map[uint64]uint64)
	memory.EachMapped(0xffffc90000000000, 0xffffc90000400000, func(addr, page uint64) { got[addr] = page })
	if len(got) != 1 || got[virtual] != pageAddr(8) {
		t.Errorf("pages mapped by themselves: %#x", got)
	}
}
