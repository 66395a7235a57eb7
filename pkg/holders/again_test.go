// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"slices"
	"testing"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// What waits for its grace period has given back its reference, and has the pointer still.
func TestWhatIsAboutToBeFreedHoldsNothing(t *testing.T) {
	m, k := newMachine(t)
	m.put(slabObject(theInDevice), map[int]uint64{8: 0})
	if objects, _, _ := searchMachine(t, k); slices.Contains(objects, "certain in_device in_device.dev") {
		t.Errorf("objects %q", objects)
	}
}

// searchWhile searches, and has something happen once, in the middle of it.
func searchWhile(t *testing.T, k *Kernel, attempts int, happens func()) (objects []string, ends []record.HolderSearch) {
	t.Helper()
	devices, err := k.Waiting()
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Now: func() uint64 { return 1 }, Attempts: attempts,
		Progress: func(pass int, _, _ uint64) {
			if pass == 1 {
				happens()
			}
		},
	}
	err = k.Search(t.Context(), devices, nil, o, func(r record.Record) {
		switch r := r.(type) {
		case *record.HeldObject:
			objects = append(objects, r.Family)
		case *record.HolderSearch:
			ends = append(ends, *r)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(objects)
	return objects, ends
}

func TestAReferenceGivenBackDuringTheSearchIsNotTold(t *testing.T) {
	m, k := newMachine(t)
	objects, ends := searchWhile(t, k, 1, func() { m.put(slabObject(theInDevice), map[int]uint64{8: 0}) })
	if slices.Contains(objects, "in_device") || len(ends) != 1 {
		t.Errorf("objects %q, %d ends", objects, len(ends))
	}
}

func TestASearchThatWasDisturbedIsRepeated(t *testing.T) {
	for attempts, moved := range map[int]bool{1: true, 2: false} {
		m, k := newMachine(t)
		_, ends := searchWhile(t, k, attempts, func() { m.put(atCount, map[int]uint64{0: 5}) })
		if len(ends) != 1 || ends[0].Usage != 5 || ends[0].Moved != moved {
			t.Errorf("%d attempts: %+v, want moved %v", attempts, ends, moved)
		}
	}
}

// Of a cached route that is replaced the count says nothing: as many are dropped as are
// taken. The new one may be where the search had been already.
func TestWhatLooksLeakedIsSearchedForTwice(t *testing.T) {
	for name, tc := range map[string]struct {
		made bool
		want int32
	}{"the reference's object is there the second time": {true, 0}, "it never is": {false, 1}} {
		m, k := newMachine(t)
		m.put(atCount, map[int]uint64{0: 4})
		m.put(slabObject(theParms), map[int]uint64{8: 0})
		k.memory.Forget()
		objects, ends := searchWhile(t, k, 1, func() {
			if tc.made {
				m.put(slabObject(theParms), map[int]uint64{8: slabObject(theDevice), 32: 0 | 2<<32})
			}
		})
		held := int32(len(objects))
		if len(ends) != 1 || ends[0].Moved || ends[0].Usage-ends[0].Own-held != tc.want {
			t.Errorf("%s: objects %q, %+v", name, objects, ends)
		}
	}
}

// It was not recognised: a field of it was being written just then.
func TestWhatWasNotRecognisedIsWeighedAnew(t *testing.T) {
	m, k := newMachine(t)
	m.put(slabObject(theParms), map[int]uint64{0: slabObject(theTx), 16: 0, 24: atNet, 32: 0})
	m.put(atCount, map[int]uint64{0: 4})
	k.memory.Forget()
	devices, err := k.Waiting()
	if err != nil {
		t.Fatal(err)
	}
	var objects []string
	o := Options{
		Now: func() uint64 { return 1 }, Attempts: 1,
		Progress: func(pass int, _, _ uint64) {
			if pass == 2 { // of what points at the objects: they have been weighed
				m.put(slabObject(theParms), map[int]uint64{0: atNet, 32: 0 | 2<<32})
				m.list(slabObject(theParms) + 16)
			}
		},
	}
	var end *record.HolderSearch
	err = k.Search(t.Context(), devices, nil, o, func(r record.Record) {
		switch r := r.(type) {
		case *record.HeldObject:
			objects = append(objects, r.Family)
		case *record.HolderSearch:
			end = r
		}
	})
	if err != nil || !slices.Contains(objects, "neigh_parms") || end.Moved || end.Unknown != 0 {
		t.Errorf("objects %q, %+v, %v", objects, end, err)
	}
}

// A device that was looked at in a quiet moment is told at once.
func TestASearchThatWasNotDisturbedIsNotRepeated(t *testing.T) {
	_, k := newMachine(t)
	passes := 0
	if _, ends := searchWhile(t, k, 3, func() { passes++ }); passes != 1 || len(ends) != 1 {
		t.Errorf("%d passes, %d ends", passes, len(ends))
	}
}
