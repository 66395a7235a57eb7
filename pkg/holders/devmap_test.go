// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"slices"
	"testing"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// It is a pointer and zeros: what it is, only the map tells.
func TestAnEntryOfADevmapIsKnownByItsMap(t *testing.T) {
	m, k := newMachine(t)
	const theMap = 12
	dtab, entry := slabObject(theMap), slabObject(theUnknown)
	m.put(entry, map[int]uint64{0: slabObject(theDevice), 8: 2})
	m.put(dtab, map[int]uint64{0: 9 | 4<<32, 8: dtab + 64, 64 + 2*8: entry})
	m.list(atDevmaps, dtab+16)
	m.put(atCount, map[int]uint64{0: 4})
	k.memory.Forget()
	devices, err := k.Waiting()
	if err != nil {
		t.Fatal(err)
	}
	var found []*record.HeldObject
	err = k.Search(t.Context(), devices, nil, Options{Now: func() uint64 { return 1 }}, func(r record.Record) {
		if o, ok := r.(*record.HeldObject); ok && o.Family == "devmap" {
			found = append(found, o)
		}
	})
	if err != nil || len(found) != 1 {
		t.Fatalf("%d entries, %v", len(found), err)
	}
	want := []record.HeldFact{{Name: "bpf_map", Value: "9"}, {Name: "map_index", Value: "2"}}
	if o := found[0]; !o.Certain || o.Means != record.PointerCounted || !slices.Equal(o.Facts, want) {
		t.Errorf("%+v", o)
	}
}
