// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"slices"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/holders/memory"
	"github.com/netns-trace/netns-trace/pkg/holders/structs"
)

// untypedSites are the table's fields that may point at a device without saying so by
// their type.
func (id *identifier) untypedSites(toDevice, toQueue []structs.Site) []structs.Site {
	var list []structs.Site
	for place := range id.table.places {
		structName, path, ok := strings.Cut(place, ".")
		if !ok || strings.Contains(structName, ":") {
			continue
		}
		for _, t := range id.types.Structs(structName) {
			f, ok := id.types.FieldOf(t, path)
			typed := slices.ContainsFunc(toDevice, func(s structs.Site) bool { return s.Type == t && s.Offset == f.Offset })
			queue := slices.ContainsFunc(toQueue, func(s structs.Site) bool { return s.Type == t && s.Offset == f.Offset })
			site := structs.Site{Type: t, Offset: f.Offset}
			if f.Size > 8 { // an array of pointers
				site.Stride, site.Count = 8, f.Size/8
			}
			if ok && f.Size%8 == 0 && !typed && !queue {
				list = append(list, site)
			}
		}
	}
	return list
}

// reach notes the types of what a device points at, and of what that points at.
func (id *identifier) reach(d *Device) {
	t, ok := id.types.Struct("net_device")
	if !ok {
		return
	}
	const depth = 2
	id.reachFrom(t, d.Addr, depth)
	if t, ok := id.typeAt("private:" + d.Kind); ok {
		id.reachFrom(t, d.priv, depth)
	}
}

func (id *identifier) reachFrom(t structs.Type, addr uint64, depth int) {
	const most = 1 << 16
	for _, l := range id.leavesOf(t) {
		if l.Kind != structs.StructPtr {
			continue
		}
		v, err := id.memory.Uint64(addr + uint64(l.Offset))
		name := id.types.Name(l.Target)
		if err != nil || v < minPointer || v%8 != 0 || name == "net_device" || name == "net" || len(id.reached) > most {
			continue
		}
		if _, known := id.reached[v]; known || !id.memory.InRAM(v) {
			continue
		}
		id.reached[v] = l.Target
		if depth > 1 {
			id.reachFrom(l.Target, v, depth-1)
		}
	}
}

// Where modules are on x86-64: from the kernel image's end on at most, but for the last
// pages of the address space.
const modulesStart, modulesEnd = 0xffffffff80000000, 0xfffffffffe000000

// variableAt names the variable of a module that is at an address of the mapping of
// memory as a whole.
func (id *identifier) variableAt(addr uint64) (string, bool) {
	if id.modules == nil {
		id.modules = make(map[uint64]uint64)
		id.memory.EachMapped(modulesStart, modulesEnd, func(at, page uint64) { id.modules[page] = at })
	}
	at, ok := id.modules[addr&^(memory.PageSize-1)]
	if !ok {
		return "", false
	}
	name, module, ok := id.symbol(at + addr%memory.PageSize)
	if !ok || module == "" {
		return "", false
	}
	return name + " [" + module + "]", true
}

// mapQueues notes where the pages of a device's queues are that vmalloc gave: an array
// of many.
func (id *identifier) mapQueues(d *Device) {
	for _, q := range d.queues() {
		if q.at == 0 || id.memory.InRAM(q.at) {
			continue
		}
		for at := q.at &^ (memory.PageSize - 1); at < q.at+q.many*id.size(q.name); at += memory.PageSize {
			if page, ok := id.memory.Translate(at); ok {
				id.virtual[page] = at
			}
		}
	}
}
