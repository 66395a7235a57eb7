// SPDX-License-Identifier: Apache-2.0

package memory

import "github.com/netns-trace/netns-trace/pkg/holders/structs"

// kfence is where KFENCE (since 5.12, on in many distributions' kernels) has the objects
// that it gives out in place of a slab's: each at the begin or the end of a page of its
// own, so that what writes beyond it is caught. These pages look like slabs of one object.
// Source: mm/kfence/core.c, addr_to_metadata().
type kfence struct {
	pool     uint64 // 0: there is none
	metadata uint64 // an array, an entry for every second page of the pool but the first
	stride   uint64

	addr, size, cache, state structs.Field
}

// What enum kfence_object_state calls an object in use. A kernel without the constant
// in its types has the number that it always was.
const kfenceAllocated = 1

func (m *Memory) findKfence(symbols Symbols) {
	t, ok := m.types.Struct("kfence_metadata")
	if !ok {
		return
	}
	k := kfence{stride: uint64(m.types.Size(t))}
	for name, to := range map[string]*structs.Field{"addr": &k.addr, "size": &k.size, "cache": &k.cache, "state": &k.state} {
		if *to, ok = m.types.FieldOf(t, name); !ok {
			return
		}
	}
	pool, okPool := symbols.Address("__kfence_pool")
	at, okMetadata := symbols.Address("kfence_metadata")
	if !okPool || !okMetadata {
		return
	}
	var err error
	if pool, err = m.Uint64(pool); err != nil || !m.InRAM(pool) {
		return // it is off
	}
	// Since 6.6 (cabdf74e6b31) it is a pointer to the array; before, it was that, and
	// begins with a list of such entries or of itself, in the image too.
	k.metadata = at
	if v, err := m.Uint64(at); err == nil && m.InRAM(v) {
		k.metadata = v
	}
	k.pool = pool
	m.kfence = k
}

// kfenceObject returns the object of KFENCE's that has an address. fenced is true if the
// page is KFENCE's, also when its object does not have that address.
func (m *Memory) kfenceObject(addr uint64) (o Object, has, fenced bool) {
	k := &m.kfence
	if k.pool == 0 || addr < k.pool+2*PageSize {
		return o, false, false
	}
	const most = 1 << 16 // objects of any kernel: CONFIG_KFENCE_NUM_OBJECTS
	n := (addr-k.pool)/(2*PageSize) - 1
	if n >= most {
		return o, false, false
	}
	entry := k.metadata + n*k.stride
	start, err := m.Value(entry, k.addr)
	if err != nil || start/PageSize != addr/PageSize {
		return o, false, false // beyond the pool, or of no object yet
	}
	size, err := m.Value(entry, k.size)
	if err != nil || addr < start || addr-start >= size {
		return o, false, true
	}
	at, err := m.Value(entry, k.cache)
	if err != nil {
		return o, false, true
	}
	cache, err := m.cacheAt(at)
	if err != nil {
		return o, false, true
	}
	state, err := m.Value(entry, k.state)
	return Object{Start: start, Cache: cache, Free: err == nil && state != kfenceAllocated}, true, true
}
