// SPDX-License-Identifier: Apache-2.0

package holders

import "strconv"

// devmapEntry is where the entry of a BPF map of devices is.
type devmapEntry struct {
	mapID uint64
	index uint64
}

// maxDevmapSlots bounds the slots of such maps, most of which are empty, that are read.
const maxDevmapSlots = 1 << 20

// findDevmaps notes the entries of all BPF maps of devices. An entry of an array is a
// pointer and zeros, which could be of many types: it is known by the map alone.
func (id *identifier) findDevmaps() {
	id.devmaps = make(map[uint64]devmapEntry)
	head, ok := id.Address("dev_map_list")
	list, okList := id.field("bpf_dtab.list")
	if !ok || !okList {
		return
	}
	left := uint64(maxDevmapSlots)
	id.memory.EachInList(head, uint64(list.Offset), func(dtab uint64) {
		number, _ := id.get(dtab, "bpf_dtab.map.id")
		slots, _ := id.get(dtab, "bpf_dtab.map.max_entries")
		array, _ := id.get(dtab, "bpf_dtab.netdev_map")
		slots = min(slots, left)
		for n := uint64(0); n < slots && array != 0; n++ {
			left--
			entry, err := id.memory.Uint64(array + 8*n)
			if err != nil {
				return
			}
			id.noteDevmapEntry(entry, number)
		}
		buckets, _ := id.get(dtab, "bpf_dtab.n_buckets")
		heads, _ := id.get(dtab, "bpf_dtab.dev_index_head")
		node, okNode := id.field("bpf_dtab_netdev.index_hlist")
		buckets = min(buckets, left)
		for n := uint64(0); n < buckets && heads != 0 && okNode; n++ {
			left--
			at, err := id.memory.Uint64(heads + 8*n)
			const longest = 1 << 10
			for m := 0; m < longest && err == nil && at != 0; m++ {
				id.noteDevmapEntry(at-uint64(node.Offset), number)
				at, err = id.memory.Uint64(at)
			}
			if err != nil {
				return
			}
		}
	})
}

func (id *identifier) noteDevmapEntry(entry, number uint64) {
	if dev, ok := id.get(entry, "bpf_dtab_netdev.dev"); ok && id.devices[dev] != nil {
		index, _ := id.get(entry, "bpf_dtab_netdev.idx")
		id.devmaps[entry] = devmapEntry{number, index}
	}
}

// inDevmap handles an entry of a BPF map of devices.
func (id *identifier) inDevmap(o *object) bool {
	t, ok := id.types.Struct("bpf_dtab_netdev")
	dev, okDev := id.field("bpf_dtab_netdev.dev")
	if !ok || !okDev {
		return false
	}
	base := o.hit.Addr - uint64(dev.Offset)
	if _, ok := id.devmaps[base]; !ok {
		return false
	}
	o.typ, o.typed, o.exact, o.base = t, true, true, base
	id.rule(o)
	return true
}

func (id *identifier) followDevmap(o *object, add func(name, value string)) {
	if entry, ok := id.devmaps[o.base]; ok {
		add("bpf_map", strconv.FormatUint(entry.mapID, 10))
		add("map_index", strconv.FormatUint(entry.index, 10))
	}
}
