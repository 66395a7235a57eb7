// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"encoding/binary"

	"github.com/netns-trace/netns-trace/pkg/holders/structs"
)

// sheafLayout is where sheaves are, which hold free objects since 6.18.
type sheafLayout struct {
	perCPU, main, spare, free     optional // kmem_cache.cpu_sheaves and its fields
	size, objects                 optional // of a sheaf
	perNode, barn                 optional // kmem_cache.per_node[].barn
	full, empty, list             optional // of a barn, and in a sheaf
	nodeSize                      uint64
	hasSheaves, perNodeIsPointers bool
}

func newSheafLayout(types *structs.Set) sheafLayout {
	l := sheafLayout{
		perCPU:  maybe(types, "kmem_cache", "cpu_sheaves"),
		main:    maybe(types, "slub_percpu_sheaves", "main"),
		spare:   maybe(types, "slub_percpu_sheaves", "spare"),
		free:    maybe(types, "slub_percpu_sheaves", "rcu_free"),
		size:    maybe(types, "slab_sheaf", "size"),
		objects: maybe(types, "slab_sheaf", "objects"),
		list:    maybe(types, "slab_sheaf", "barn_list"),
		perNode: maybe(types, "kmem_cache", "per_node"),
		barn:    maybe(types, "kmem_cache_per_node_ptrs", "barn"),
		full:    maybe(types, "node_barn", "sheaves_full"),
		empty:   maybe(types, "node_barn", "sheaves_empty"),
	}
	if !l.perNode.ok || !l.barn.ok { // 6.18: in the node itself
		l.perNode, l.perNodeIsPointers = maybe(types, "kmem_cache", "node"), true
		l.barn = maybe(types, "kmem_cache_node", "barn")
	}
	if t, ok := types.Struct("kmem_cache_per_node_ptrs"); ok {
		l.nodeSize = uint64(types.Size(t))
	}
	l.hasSheaves = l.perCPU.ok && l.main.ok && l.size.ok && l.objects.ok
	return l
}

// inSheaf reports whether a sheaf of its cache holds the object: then it is free.
func (m *Memory) inSheaf(o Object) bool {
	if !m.slab.sheaves.hasSheaves {
		return false
	}
	if o.Cache.free == nil {
		o.Cache.free = make(map[uint64]bool)
		m.readSheaves(o.Cache)
	}
	return o.Cache.free[o.Start]
}

func (m *Memory) readSheaves(c *Cache) {
	l := &m.slab.sheaves
	variable, err := m.Value(c.Addr, l.perCPU.Field)
	if err != nil || variable == 0 {
		return
	}
	for _, cpu := range m.CPUs(variable) {
		for _, f := range []optional{l.main, l.spare, l.free} {
			if sheaf, err := m.Value(cpu, f.Field); f.ok && err == nil {
				m.readSheaf(c, sheaf)
			}
		}
	}
	if !l.perNode.ok || !l.barn.ok || !l.full.ok || !l.list.ok {
		return
	}
	for node := range m.nodes {
		barn, ok := m.barnOf(c, node)
		if !ok {
			return
		}
		for _, list := range []optional{l.full, l.empty} {
			if list.ok && barn != 0 {
				m.eachInList(barn+uint64(list.Offset), uint64(l.list.Offset), mostSheaves, func(sheaf uint64) { m.readSheaf(c, sheaf) })
			}
		}
	}
}

// mostSheaves bounds a list of a barn: the kernel keeps up to 10 in each.
const mostSheaves = 64

// barnOf is the barn of a memory node; not ok beyond the last node.
func (m *Memory) barnOf(c *Cache, node uint64) (uint64, bool) {
	l := &m.slab.sheaves
	stride := l.nodeSize
	if l.perNodeIsPointers {
		stride = 8
	}
	at := c.Addr + uint64(l.perNode.Offset) + node*stride
	if stride == 0 || node*stride >= uint64(max(l.perNode.Size, uint32(stride))) {
		return 0, false
	}
	if l.perNodeIsPointers {
		v, err := m.Uint64(at)
		if err != nil || v == 0 {
			return 0, false
		}
		at = v
	}
	barn, err := m.Value(at, l.barn.Field)
	return barn, err == nil
}

func (m *Memory) readSheaf(c *Cache, sheaf uint64) {
	if sheaf == 0 {
		return
	}
	n, err := m.Value(sheaf, m.slab.sheaves.size.Field)
	const most = 4096
	if err != nil || n == 0 || n > most {
		return
	}
	raw := make([]byte, 8*n)
	if m.Read(raw, sheaf+uint64(m.slab.sheaves.objects.Offset)) != nil {
		return
	}
	for ; len(raw) >= 8; raw = raw[8:] {
		c.free[binary.LittleEndian.Uint64(raw)] = true
	}
}
