// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"fmt"
	"math/bits"

	"github.com/netns-trace/netns-trace/pkg/holders/structs"
)

// slabLayout is where the fields of slabs and caches are.
type slabLayout struct {
	cache, freelist, objects, inuse structs.Field // of a slab

	size, objectSize, offset, refs, name, ctor structs.Field // of a cache
	random, leftPad, cpu, cpuSlab, cpuFree     optional
	node                                       optional
	sheaves                                    sheafLayout
}

// optional is a field that not every kernel has.
type optional struct {
	structs.Field
	ok bool
}

func newSlabLayout(types *structs.Set) (slabLayout, error) {
	var l slabLayout
	slab := "slab" // since 5.17; before, a slab was described by its struct page
	if _, ok := types.Struct(slab); !ok {
		slab = "page"
	}
	for _, want := range []struct {
		at         *structs.Field
		name, path string
	}{
		{&l.cache, slab, "slab_cache"},
		{&l.freelist, slab, "freelist"},
		{&l.objects, slab, "objects"},
		{&l.inuse, slab, "inuse"},
		{&l.size, "kmem_cache", "size"},
		{&l.objectSize, "kmem_cache", "object_size"},
		{&l.offset, "kmem_cache", "offset"},
		{&l.refs, "kmem_cache", "refcount"},
		{&l.name, "kmem_cache", "name"},
		{&l.ctor, "kmem_cache", "ctor"},
	} {
		f, err := types.Field(want.name, want.path)
		if err != nil {
			return l, fmt.Errorf("%w: %w", ErrLayout, err)
		}
		*want.at = f
	}
	l.random = maybe(types, "kmem_cache", "random")
	l.leftPad = maybe(types, "kmem_cache", "red_left_pad")
	l.cpu = maybe(types, "kmem_cache", "cpu_slab")
	l.cpuFree = maybe(types, "kmem_cache_cpu", "freelist")
	if l.cpuSlab = maybe(types, "kmem_cache_cpu", "slab"); !l.cpuSlab.ok {
		l.cpuSlab = maybe(types, "kmem_cache_cpu", "page")
	}
	l.node = maybe(types, "kmem_cache", "node")
	l.sheaves = newSheafLayout(types)
	return l, nil
}

func maybe(types *structs.Set, structName, path string) optional {
	f, err := types.Field(structName, path)
	return optional{f, err == nil}
}

// Cache is a slab cache.
type Cache struct {
	Addr uint64
	Name string
	// ObjectSize is what is asked for, Size what an object takes.
	ObjectSize, Size uint32
	// Merged caches have objects of several kinds, whatever the name says.
	Merged bool

	offset  uint32 // of the free pointer
	leftPad uint32
	random  uint64
	free    map[uint64]bool // objects that sheaves hold; nil: not read
}

// cacheAt reads a kmem_cache.
func (m *Memory) cacheAt(addr uint64) (*Cache, error) {
	if c := m.caches[addr]; c != nil {
		return c, nil
	}
	c := &Cache{Addr: addr}
	var refs, name uint64
	var size, objectSize, offset, pad uint64
	for _, want := range []struct {
		to *uint64
		f  structs.Field
	}{{&size, m.slab.size}, {&objectSize, m.slab.objectSize}, {&offset, m.slab.offset}, {&refs, m.slab.refs}, {&name, m.slab.name}} {
		v, err := m.Value(addr, want.f)
		if err != nil {
			return nil, fmt.Errorf("reading a slab cache: %w", err)
		}
		*want.to = v
	}
	if m.slab.leftPad.ok {
		pad, _ = m.Value(addr, m.slab.leftPad.Field)
	}
	if m.slab.random.ok {
		c.random, _ = m.Value(addr, m.slab.random.Field)
	}
	const largest = 1 << 22
	if size == 0 || size > largest || objectSize > size || offset >= size || pad >= size {
		return nil, fmt.Errorf("%#x is no slab cache", addr)
	}
	c.Size, c.ObjectSize, c.offset, c.leftPad = uint32(size), uint32(objectSize), uint32(offset), uint32(pad)
	c.Merged = refs > 1
	const maxName = 64
	c.Name, _ = m.Text(name, maxName)
	const maxCaches = 4096
	if len(m.caches) >= maxCaches {
		clear(m.caches)
	}
	m.caches[addr] = c
	return c, nil
}

// Object is a slab object.
type Object struct {
	Start uint64
	Cache *Cache
	// Free is true when it is not in use, as far as that can be seen.
	Free bool
}

// ObjectAt returns the slab object that an address of the mapping as a whole is in;
// false when it is not in one.
func (m *Memory) ObjectAt(addr uint64) (Object, bool) {
	if o, has, fenced := m.kfenceObject(addr); fenced {
		return o, has
	}
	page, err := m.PageOf(addr)
	if err != nil || page.Class != SlabPage {
		return Object{}, false
	}
	at, err := m.Value(page.Meta, m.slab.cache)
	if err != nil {
		return Object{}, false
	}
	c, err := m.cacheAt(at)
	if err != nil {
		return Object{}, false
	}
	objects, err := m.Value(page.Meta, m.slab.objects)
	if err != nil {
		return Object{}, false
	}
	first := page.Start + uint64(c.leftPad)
	n := (addr - first) / uint64(c.Size)
	o := Object{Start: first + n*uint64(c.Size), Cache: c}
	if addr < first || n >= objects || addr-o.Start >= uint64(max(c.ObjectSize, 8)) {
		return Object{}, false
	}
	o.Free = m.isFree(page, o, objects)
	return o, true
}

// isFree looks for an object among the free ones. On kernels with hardened free lists
// the object itself tells: its free pointer, decoded, is the address of another object
// of the slab or nothing, which the word of an object in use is by accident only. But
// that takes init_on_alloc: without it an object in use may have its free pointer still.
func (m *Memory) isFree(page Page, o Object, objects uint64) bool {
	c := o.Cache
	inside := c.offset+8 <= c.ObjectSize
	if c.random != 0 && inside && m.zeroed {
		next, err := m.next(c, o.Start)
		if err == nil && (next == 0 || m.isSlot(page, c, next, objects)) {
			return true
		}
	} else if m.isListed(page, o, objects) {
		return true
	}
	return m.inSheaf(o)
}

func (m *Memory) isSlot(page Page, c *Cache, addr, objects uint64) bool {
	first := page.Start + uint64(c.leftPad)
	distance := addr - first
	return addr >= first && distance%uint64(c.Size) == 0 && distance/uint64(c.Size) < objects
}

// next follows a free object's pointer. Source: freelist_ptr_decode() of mm/slub.c.
func (m *Memory) next(c *Cache, object uint64) (uint64, error) {
	at := object + uint64(c.offset)
	v, err := m.Uint64(at)
	if err != nil {
		return 0, err
	}
	if c.random != 0 {
		v ^= c.random ^ bits.ReverseBytes64(at)
	}
	return v, nil
}

// isListed walks the free lists that can have the object: the slab's, and that of a
// CPU whose slab it is.
func (m *Memory) isListed(page Page, o Object, objects uint64) bool {
	heads := make([]uint64, 0, 4)
	if v, err := m.Value(page.Meta, m.slab.freelist); err == nil {
		heads = append(heads, v)
	}
	if m.slab.cpu.ok && m.slab.cpuSlab.ok && m.slab.cpuFree.ok {
		variable, err := m.Value(o.Cache.Addr, m.slab.cpu.Field)
		for _, cpu := range m.CPUs(variable) {
			if err != nil {
				break
			}
			if slab, err := m.Value(cpu, m.slab.cpuSlab.Field); err == nil && slab == page.Meta {
				if v, err := m.Value(cpu, m.slab.cpuFree.Field); err == nil {
					heads = append(heads, v)
				}
			}
		}
	}
	for _, at := range heads {
		for n := uint64(0); n <= objects && m.isSlot(page, o.Cache, at, objects); n++ {
			if at == o.Start {
				return true
			}
			next, err := m.next(o.Cache, at)
			if err != nil {
				break
			}
			at = next
		}
	}
	return false
}
