// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"testing"

	"github.com/netns-trace/netns-trace/pkg/holders/btftest"
	"github.com/netns-trace/netns-trace/pkg/holders/structs"
	"github.com/netns-trace/netns-trace/pkg/kernel"
)

// Where things are in the machine that the tests look at: 64 pages of memory, a kernel
// image in the last four of them, and the struct pages.
const (
	ramAt, ramPages = 0xffff888000000000, 64
	imageAt         = 0xffffffff81000000
	imagePage       = 60
	pagesAt         = 0xffffea0000000000
	structPage      = 64

	cacheAt = imageAt + 0x100 // a kmem_cache
	nameAt  = imageAt + 0x200
	random  = 0x1122334455667788
)

// machine is a made-up memory.
type machine struct {
	ram     [ramPages * PageSize]byte
	pages   [ramPages * structPage]byte
	missing map[uint64]bool // pages of ram that cannot be read
	unsaved bool            // they were not saved
}

var errGone = errors.New("gone")

func (m *machine) Segments() []kernel.Segment {
	return []kernel.Segment{
		{Addr: imageAt, Size: (ramPages - imagePage) * PageSize, Physical: imagePage * PageSize, PhysicalKnown: true},
		{Addr: 0xffffc90000000000, Size: 32 << 40}, // vmalloc: 32 TiB that are not memory
		{Addr: ramAt, Size: uint64(len(m.ram)), PhysicalKnown: true},
		{Addr: pagesAt, Size: uint64(len(m.pages))},
	}
}

func (m *machine) Read(b []byte, addr uint64) error {
	from := func(memory []byte, start uint64) error {
		if addr-start+uint64(len(b)) > uint64(len(memory)) {
			return errGone
		}
		copy(b, memory[addr-start:])
		return nil
	}
	switch {
	case addr >= imageAt:
		return from(m.ram[imagePage*PageSize:], imageAt)
	case addr >= pagesAt:
		return from(m.pages[:], pagesAt)
	case addr >= ramAt:
		for page := addr &^ (PageSize - 1); page < addr+uint64(len(b)); page += PageSize {
			if m.missing[page] && m.unsaved {
				return fmt.Errorf("page %#x: %w", page, ErrNotSaved)
			}
			if m.missing[page] {
				return errGone
			}
		}
		return from(m.ram[:], ramAt)
	}
	return errGone
}

func (m *machine) Address(name string) (uint64, bool) {
	at, ok := map[string]uint64{"vmemmap_base": imageAt, "__per_cpu_offset": imageAt + 8, "nr_cpu_ids": imageAt + 24, "__cpu_possible_mask": imageAt + 32, "init_on_alloc": imageAt + 48, "__kfence_pool": imageAt + 56, "kfence_metadata": imageAt + 64}[name]
	return at, ok
}

func (m *machine) put64(addr, v uint64) {
	at := addr - ramAt
	if addr >= imageAt {
		at = imagePage*PageSize + addr - imageAt
	}
	binary.LittleEndian.PutUint64(m.ram[at:], v)
}

func (m *machine) put32(addr uint64, v uint32) {
	old, _ := m.get64(addr)
	m.put64(addr, old&^0xffffffff|uint64(v))
}

func (m *machine) get64(addr uint64) (uint64, error) {
	var b [8]byte
	err := m.Read(b[:], addr)
	return binary.LittleEndian.Uint64(b[:]), err
}

// page sets a struct page's words by offset.
func (m *machine) page(n int, words map[int]uint64) {
	for offset, v := range words {
		binary.LittleEndian.PutUint64(m.pages[n*structPage+offset:], v)
	}
}

func pageAddr(n int) uint64 { return ramAt + uint64(n)*PageSize }
func metaAddr(n int) uint64 { return pagesAt + uint64(n)*structPage }

// Flags and types of pages in this machine.
const (
	flagReserved, flagLRU = 1 << 1, 1 << 2
	slabType              = 0xf5 << 24 // beside a reference count of 1, which is above it
	inUse                 = 1 << 32
)

func machineTypes(sheaves bool) *btftest.Builder {
	b := btftest.New().
		Enum("pageflags", "PG_locked", 0, "PG_reserved", 1, "PG_lru", 2, "PG_swapbacked", 3).
		Enum("pagetype", "PGTY_slab", 0xf5, "PGTY_large_kmalloc", 0xf8).
		Struct("cpumask", 16, btftest.Member{Name: "bits", Type: "[2]u64"}).
		Struct("page", structPage,
			btftest.Member{Name: "flags", Type: "u64"},
			btftest.Member{Name: "compound_head", Offset: 8, Type: "u64"},
			btftest.Member{Name: "mapping", Offset: 24, Type: "void*"},
			btftest.Member{Name: "_mapcount", Offset: 48, Type: "u32"},
			btftest.Member{Name: "_refcount", Offset: 52, Type: "u32"}).
		Struct("kfence_metadata", 64,
			btftest.Member{Name: "state", Offset: 16, Type: "u32"},
			btftest.Member{Name: "addr", Offset: 24, Type: "u64"},
			btftest.Member{Name: "size", Offset: 32, Type: "u64"},
			btftest.Member{Name: "cache", Offset: 40, Type: "void*"}).
		Struct("slab", structPage,
			btftest.Member{Name: "slab_cache", Offset: 16, Type: "void*"},
			btftest.Member{Name: "freelist", Offset: 32, Type: "void*"},
			btftest.Member{Name: "inuse", Offset: 40, Bits: 16, Type: "u32"},
			btftest.Member{Name: "objects", Offset: 40, Bit: 16, Bits: 15, Type: "u32"})
	cache := []btftest.Member{
		{Name: "size", Offset: 8, Type: "u32"},
		{Name: "object_size", Offset: 12, Type: "u32"},
		{Name: "offset", Offset: 16, Type: "u32"},
		{Name: "refcount", Offset: 20, Type: "u32"},
		{Name: "name", Offset: 24, Type: "char*"},
		{Name: "ctor", Offset: 32, Type: "fn"},
		{Name: "random", Offset: 40, Type: "u64"},
		{Name: "red_left_pad", Offset: 48, Type: "u32"},
	}
	if sheaves {
		b.Struct("slab_sheaf", 32, btftest.Member{Name: "size", Offset: 24, Type: "u32"}, btftest.Member{Name: "objects", Offset: 32, Type: "[0]void*"}).
			Struct("slub_percpu_sheaves", 32, btftest.Member{Name: "main", Offset: 8, Type: "*slab_sheaf"})
		cache = append(cache, btftest.Member{Name: "cpu_sheaves", Offset: 56, Type: "*slub_percpu_sheaves"})
	}
	return b.Struct("kmem_cache", 64, cache...)
}

// newMachine has a slab of objects of 256 bytes in pages 8 and 9.
func newMachine(t *testing.T, sheaves bool) (*machine, *Memory) {
	t.Helper()
	types, err := structs.New(machineTypes(sheaves).Bytes())
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{missing: make(map[uint64]bool)}
	m.put64(imageAt, pagesAt) // vmemmap_base
	m.put64(imageAt+24, 1)    // nr_cpu_ids
	m.put64(imageAt+32, 1<<1) // __cpu_possible_mask, which says otherwise
	m.put64(imageAt+48, 1)    // init_on_alloc
	m.put64(cacheAt+8, 256|200<<32)
	m.put64(cacheAt+16, 64|1<<32)
	m.put64(cacheAt+24, nameAt)
	m.put64(cacheAt+40, random)
	copy(m.ram[imagePage*PageSize+0x200:], "kmalloc-256\x00")
	for n := imagePage; n < ramPages; n++ {
		m.page(n, map[int]uint64{0: flagReserved, 48: inUse})
	}
	m.page(8, map[int]uint64{16: cacheAt, 40: 32 << 16, 48: slabType})
	m.page(9, map[int]uint64{8: metaAddr(8) | 1})
	memory, err := New(m, types, m)
	if err != nil {
		t.Fatal(err)
	}
	memory.Forget() // the tests write to pages that were read
	return m, memory
}

// freeObject makes an object's free pointer, as the kernel's hardened free lists have it.
func (m *machine) freeObject(object, next uint64) {
	at := object + 64
	m.put64(at, next^random^bits.ReverseBytes64(at))
}
