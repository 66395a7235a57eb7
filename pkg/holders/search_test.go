// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netns-trace/netns-trace/pkg/record"
)

func searchMachine(t *testing.T, k *Kernel) (objects []string, end *record.HolderSearch, sockets []record.Socket) {
	t.Helper()
	devices, err := k.Waiting()
	if err != nil || len(devices) != 1 {
		t.Fatalf("devices that wait: %+v, %v", devices, err)
	}
	err = k.Search(t.Context(), devices, nil, Options{Now: func() uint64 { return 1 }}, func(r record.Record) {
		switch r := r.(type) {
		case *record.HeldObject:
			sure := "likely"
			if r.Certain {
				sure = "certain"
			}
			if r.Means == record.PointerUnknown {
				sure = "unknown"
			}
			objects = append(objects, fmt.Sprintf("%s %s %s", sure, r.Family, r.Field))
			sockets = append(sockets, r.Sockets...)
		case *record.HolderSearch:
			end = r
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(objects)
	return objects, end, sockets
}

func TestADeviceThatWaitsIsFoundOnAStack(t *testing.T) {
	_, k := newMachine(t)
	devices, err := k.Waiting()
	if err != nil || len(devices) != 1 {
		t.Fatalf("%+v, %v", devices, err)
	}
	d := devices[0]
	if d.Name != "hold7" || d.Ifindex != 5 || d.State != Unregistered || d.Count != 3 || d.Netns != (record.NetnsID{Inode: 0xF0000001, Cookie: 7}) {
		t.Errorf("device %+v", d)
	}
}

// Where no stack tells of it, its shape does.
func TestADeviceThatWaitsIsFoundByItsShape(t *testing.T) {
	m, k := newMachine(t)
	stack := uint64(ramAt + stackPage*pageBytes)
	m.put(stack, map[int]uint64{0x2000: 0, 0x3f00: 0, 0x3f08: 0})
	if devices, err := k.Waiting(); err != nil || len(devices) != 0 {
		t.Fatalf("on a stack: %+v, %v", devices, err)
	}
	devices, _, err := k.FindUnregistered(t.Context(), Options{})
	if err != nil || len(devices) != 1 || devices[0].Name != "hold7" {
		t.Errorf("%+v, %v", devices, err)
	}
	m.put(slabObject(theDevice), map[int]uint64{256: 0}) // its free pointer, decoded, is no object's
	m.put(pagesAt+8*metaBytes, map[int]uint64{48: 0})    // its memory was given back
	k.memory.Forget()
	if devices, _, err := k.FindUnregistered(t.Context(), Options{}); err != nil || len(devices) != 0 {
		t.Errorf("in a free page: %+v, %v", devices, err)
	}
}

func TestWhatHoldsADeviceIsFound(t *testing.T) {
	_, k := newMachine(t)
	objects, end, sockets := searchMachine(t, k)
	want := []string{"certain in_device in_device.dev", "certain socket socket of protocol LLC"}
	if diff := cmp.Diff(want, objects); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if end == nil || end.Usage != 3 || end.Own != 1 || !end.OwnKnown || !end.Waiting || end.Free != 1 || end.Unknown != 0 {
		t.Errorf("end %+v", end)
	}
	if len(sockets) != 1 || sockets[0].Inode != 1204 || sockets[0].Family != 26 || sockets[0].Protocol != "LLC" ||
		len(sockets[0].Owners) != 1 || sockets[0].Owners[0].FD != 1 || sockets[0].Owners[0].Thread.TGID != 42 {
		t.Errorf("sockets %+v", sockets)
	}
}

// Neighbour parameters give their reference back when they are released, and live on as
// long as a neighbour uses them.
func TestReleasedNeighbourParametersHoldNothing(t *testing.T) {
	m, k := newMachine(t)
	m.put(slabObject(theParms), map[int]uint64{32: 0 | 2<<32}) // not dead
	objects, _, _ := searchMachine(t, k)
	if !slices.ContainsFunc(objects, func(o string) bool { return o == "certain neigh_parms neigh_parms.dev" }) {
		t.Errorf("not released: %q", objects)
	}
	m.put(slabObject(theParms), map[int]uint64{32: 1 | 2<<32})
	k.memory.Forget()
	if objects, _, _ = searchMachine(t, k); len(objects) != 2 {
		t.Errorf("released: %q", objects)
	}
}

// A struct with nothing but the pointer could be of many types: it is not guessed.
func TestAnObjectThatSaysNothingIsOfUnknownKind(t *testing.T) {
	m, k := newMachine(t)
	m.put(slabObject(theUnknown), map[int]uint64{0: slabObject(theDevice)})
	m.put(atCount, map[int]uint64{0: 4})
	objects, end, _ := searchMachine(t, k)
	if !slices.Contains(objects, "unknown  +0x0") || end.Unknown != 1 {
		t.Errorf("objects %q, %d unknown", objects, end.Unknown)
	}
}

// What nobody knows the type of, but a socket points at, is that socket's business.
func TestTheSocketThatPointsAtAnUnknownObjectIsFound(t *testing.T) {
	m, k := newMachine(t)
	m.put(slabObject(theSocket), map[int]uint64{200: 0, 208: slabObject(theUnknown)})
	m.put(slabObject(theUnknown), map[int]uint64{24: slabObject(theDevice)})
	objects, _, sockets := searchMachine(t, k)
	if !slices.Contains(objects, "likely socket +0x18") || len(sockets) != 1 || sockets[0].Inode != 1204 {
		t.Errorf("objects %q, sockets %+v", objects, sockets)
	}
}

func TestADeviceThatIsFreedMeanwhileIsNotTold(t *testing.T) {
	m, k := newMachine(t)
	devices, err := k.Waiting()
	if err != nil {
		t.Fatal(err)
	}
	m.put(slabObject(theDevice), map[int]uint64{24: 4 | 5<<32})
	m.put(slabObject(theDevice), map[int]uint64{16: 0})
	told := 0
	err = k.Search(t.Context(), devices, nil, Options{Now: func() uint64 { return 1 }}, func(record.Record) { told++ })
	if err != nil || told != 0 {
		t.Errorf("%d records, %v", told, err)
	}
}

// A device that moves to another namespace while the list is walked leads to that one's
// devices, and never back.
func TestAWalkThatIsLedAstrayEndsAndTellsADeviceOnce(t *testing.T) {
	m, k := newMachine(t)
	dev := slabObject(theDevice)
	m.put(atNet+16, map[int]uint64{0: dev + 152})
	m.list(dev + 152) // a circle without the head
	k.memory.Forget()
	devices, err := k.Devices()
	if err != nil || len(devices) != 1 || devices[0].Name != "hold7" {
		t.Errorf("%d devices, %v", len(devices), err)
	}
}

func TestASearchCanBeEnded(t *testing.T) {
	_, k := newMachine(t)
	devices, err := k.Waiting()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.Search(ctx, devices, nil, Options{Now: func() uint64 { return 1 }}, func(record.Record) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("a search that was cancelled: %v", err)
	}
}

// A device that somebody saw wait may be gone when memory is looked at, or another thing
// may be where it was.
func TestOnlyWhatWaitsIsSearchedFor(t *testing.T) {
	_, k := newMachine(t)
	waiting, err := k.Waiting()
	if err != nil || len(waiting) != 1 {
		t.Fatalf("%+v, %v", waiting, err)
	}
	devices := k.WaitingAt([]uint64{waiting[0].Addr, waiting[0].Addr + 64, 8, 1 << 63})
	if len(devices) != 1 || devices[0].Name != "hold7" {
		t.Errorf("%+v", devices)
	}
}
