// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"testing"
	"time"

	"github.com/netns-trace/netns-trace/pkg/crash"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// searchDump searches a machine that does not change, and tells of the device that waits.
func searchDump(t *testing.T, d *Dump) (end *record.HolderSearch, owners []record.SocketOwner, passes int) {
	t.Helper()
	devices, err := d.Waiting()
	if err != nil || len(devices) != 1 {
		t.Fatalf("devices that wait: %+v, %v", devices, err)
	}
	o := Options{Now: func() uint64 { return 1 }, Settle: time.Hour, Attempts: 3, Progress: func(pass int, _, _ uint64) { passes = pass }}
	err = d.Search(t.Context(), devices, nil, o, func(r record.Record) {
		switch r := r.(type) {
		case *record.HeldObject:
			for _, sock := range r.Sockets {
				owners = append(owners, sock.Owners...)
			}
		case *record.HolderSearch:
			end = r
		}
	})
	if err != nil || end == nil {
		t.Fatalf("search: %+v, %v", end, err)
	}
	return end, owners, passes
}

func TestADumpIsNotLookedAtTwice(t *testing.T) {
	m, k := newMachine(t)
	m.put(atCount, map[int]uint64{0: 5}) // two references more than objects
	k.memory.Forget()
	end, _, passes := searchDump(t, &Dump{Kernel: k, Release: "6.12.1-test"})
	if end.Dump != "6.12.1-test" || end.Usage != 5 || end.Moved {
		t.Errorf("search %+v", end)
	}
	// A running machine is searched anew before a leak is told.
	if passes > 2 {
		t.Errorf("it was gone through %d times", passes)
	}
}

func TestWhenAProcessStartedIsToldOnlyIfTheClockIsKnown(t *testing.T) {
	_, k := newMachine(t)
	for name, c := range map[string]crash.Clock{"not known": {When: time.Unix(1, 0)}, "known": {When: time.Unix(100, 0), Boottime: time.Second}} {
		k.fields["task_struct.start_boottime"], _ = k.field("task_struct.pid") // any number but 0
		_, owners, _ := searchDump(t, &Dump{Kernel: k, Clock: c})
		if len(owners) != 1 || (owners[0].Thread.Start != 0) != (c.Boottime != 0) {
			t.Errorf("%s: owners %+v", name, owners)
		}
	}
}

func TestInitialNetns(t *testing.T) {
	_, k := newMachine(t)
	if got, ok := (&Dump{Kernel: k}).InitialNetns(); !ok || got != (record.NetnsID{Inode: 0xF0000001, Cookie: 7}) {
		t.Errorf("%+v, %t", got, ok)
	}
}

// FuzzSearch puts words of its own into a kernel's memory: a dump may be damaged.
func FuzzSearch(f *testing.F) {
	f.Add(uint32(theDevice*512+8*pageBytes), ^uint64(0), uint32(theTask*512+8*pageBytes+16), uint64(ramAt))
	f.Add(uint32(imagePage*pageBytes+0x40), uint64(0), uint32(imagePage*pageBytes+0x508), uint64(1<<63))
	f.Add(uint32(theFiles*512+8*pageBytes), ^uint64(0), uint32(theSocket*512+8*pageBytes), slabObject(theSocket))
	f.Fuzz(func(t *testing.T, first uint32, a uint64, second uint32, b uint64) {
		_, k := newMachineOf(t, func(m *machine) {
			m.put(ramAt+uint64(first)%uint64(len(m.ram)-8), map[int]uint64{0: a})
			m.put(ramAt+uint64(second)%uint64(len(m.ram)-8), map[int]uint64{0: b})
		})
		if k == nil {
			return
		}
		d := &Dump{Kernel: k}
		devices, err := d.Waiting()
		if err != nil {
			return
		}
		known, _ := d.Devices()
		shaped, _, _ := d.FindUnregistered(t.Context(), Options{})
		_ = d.Search(t.Context(), append(devices, shaped...), known, Options{Now: func() uint64 { return 1 }}, func(record.Record) {})
	})
}
