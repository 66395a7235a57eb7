// SPDX-License-Identifier: Apache-2.0

package refs

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// searchOf is a search for what holds hold7, whose usage count is so much; one is its
// own, as since 5.13.
func searchOf(usage int32) *record.HolderSearch {
	return &record.HolderSearch{
		Time: at(10), Dev: 1, Name: "hold7", Ifindex: 3, Netns: host, State: "waiting", Waiting: true,
		Usage: usage, UsageKnown: true, Own: 1, OwnKnown: true, Bytes: 64 << 20, Pages: 16384, TookNS: 2e9,
	}
}

func heldObject(family, field string, certain bool) *record.HeldObject {
	return &record.HeldObject{
		Time: at(10), Dev: 1, Object: 0x100, Family: family, Field: field, Cache: "kmalloc-2k",
		Means: record.PointerCounted, Certain: certain,
	}
}

// llc is a socket of AF_LLC with these owners, by pid.
func llc(pids ...uint32) record.Socket {
	s := record.Socket{Family: 26, Protocol: "LLC", Inode: 1204, Netns: host}
	for _, pid := range pids {
		s.Owners = append(s.Owners, record.SocketOwner{Thread: record.Thread{TGID: pid, TID: pid, Comm: "oldproto"}, FD: 3})
	}
	return s
}

func run(records ...record.Record) []*finding.Finding {
	s := NewSearches(new(finding.Knowledge))
	var got []*finding.Finding
	for _, r := range records {
		s.Observe(r, func(f *finding.Finding) { got = append(got, f) })
	}
	return got
}

func TestASearchIsWorded(t *testing.T) {
	socket := heldObject("socket", "llc_sock.dev", true)
	socket.Sockets = []record.Socket{llc(158)}
	neighbour := heldObject("neighbour", "neighbour.dev", true)
	neighbour.Facts = []record.HeldFact{{Name: "address", Value: "10.9.0.77"}, {Name: "object_references", Value: "2"}}
	route := heldObject("nexthop", "fib6_info.fib6_nh.nh_common.nhc_dev", false)
	route.Facts = []record.HeldFact{{Name: "gateway", Value: "fd00::1"}, {Name: "route", Value: "fd77::/64"}}
	port := heldObject("bridge_port", "net_bridge_port.dev", true)
	port.Other = "br0"
	packet := heldObject("queued_packet", "nf_queue_entry.state.out", true)
	packet.Facts = []record.HeldFact{{Name: "queue_number", Value: "7"}, {Name: "port_id", Value: "158"}}
	packet.Sockets = []record.Socket{llc(158)}
	packet.Sockets[0].Family, packet.Sockets[0].Protocol = 16, "NETLINK"
	entry := heldObject("devmap", "bpf_dtab_netdev.dev", true)
	entry.Facts = []record.HeldFact{{Name: "bpf_map", Value: "12"}, {Name: "map_index", Value: "3"}}
	unknown := heldObject("", "+0x18", false)
	unknown.Means = record.PointerUnknown
	registered := searchOf(5)
	registered.Waiting, registered.State, registered.Own = false, "registered", 2
	moved := searchOf(4)
	moved.Moved = true
	uncounted := searchOf(0)
	uncounted.UsageKnown = false

	for _, tc := range []struct {
		name    string
		records []record.Record
		want    []string
	}{
		{
			"a socket holds it, and one knows whose",
			[]record.Record{socket, searchOf(2)},
			[]string{
				"held: hold7 of netns 100 waits in unregistration: usage count 2: explained 1 certain, 0 likely, 0 unexplained",
				"holder: hold7 of netns 100 is held by a socket of AF_LLC of oldproto (pid 158), fd 3",
			},
		},
		{
			"nothing holds it",
			[]record.Record{searchOf(4)},
			[]string{
				"held: hold7 of netns 100 waits in unregistration: usage count 4: explained 0 certain, 0 likely, 3 unexplained",
				"leaked: hold7 of netns 100: no known kind of object in memory holds it: 3 references look leaked by code",
			},
		},
		{
			"an object of unknown kind may be it",
			[]record.Record{unknown, searchOf(2)},
			[]string{
				"held: hold7 of netns 100 waits in unregistration: usage count 2: explained 0 certain, 0 likely, 1 unexplained",
				"leaked: hold7 of netns 100: no known kind of object in memory holds it: 1 reference looks leaked by code, or held by an object of unknown kind",
			},
		},
		{
			"what is known of objects",
			[]record.Record{neighbour, route, port, searchOf(4)},
			[]string{
				"held: hold7 of netns 100 waits in unregistration: usage count 4: explained 2 certain, 1 likely, 0 unexplained",
				"holder: hold7 of netns 100 is held by a neighbour 10.9.0.77",
				"holder: hold7 of netns 100 is likely held by the nexthop of a route via fd00::1 for fd77::/64",
				"holder: hold7 of netns 100 is held by a port of the bridge br0",
			},
		},
		{
			"what is in a queue or a map",
			[]record.Record{packet, entry, searchOf(3)},
			[]string{
				"held: hold7 of netns 100 waits in unregistration: usage count 3: explained 2 certain, 0 likely, 0 unexplained",
				"holder: hold7 of netns 100 is held by a packet in NFQUEUE 7, which is read by a socket of AF_NETLINK of oldproto (pid 158), fd 3",
				"holder: hold7 of netns 100 is held by an entry of a BPF device map 12, index 3",
			},
		},
		{
			"a device that lives, and has been leaked already",
			[]record.Record{neighbour, registered},
			[]string{
				"held: hold7 of netns 100 is registered: usage count 5: explained 1 certain, 0 likely, 2 unexplained",
				"holder: hold7 of netns 100 is held by a neighbour 10.9.0.77",
				"leaked: hold7 of netns 100: beside the objects found, no known kind of object in memory holds it: 2 references not explained",
			},
		},
		{
			"the count changed meanwhile: nothing is concluded from the difference",
			[]record.Record{moved},
			[]string{"held: hold7 of netns 100 waits in unregistration: usage count 4: explained 0 certain, 0 likely, 3 unexplained"},
		},
		{
			"more objects than references",
			[]record.Record{neighbour, port, searchOf(2)},
			[]string{
				"held: hold7 of netns 100 waits in unregistration: usage count 2: explained 2 certain, 0 likely, 0 unexplained",
				"holder: hold7 of netns 100 is held by a neighbour 10.9.0.77",
				"holder: hold7 of netns 100 is held by a port of the bridge br0",
			},
		},
		{
			"the count could not be read",
			[]record.Record{neighbour, uncounted},
			[]string{
				"held: hold7 of netns 100 waits in unregistration: 1 object that holds it found; its usage count is not known",
				"holder: hold7 of netns 100 is held by a neighbour 10.9.0.77",
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, f := range run(tc.records...) {
				got = append(got, f.Kind+": "+f.Summary)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatReleasesAReferenceIsSaid(t *testing.T) {
	flight, kernels := llc(), llc()
	kernels.Inode = 0
	many := llc(1, 2)
	many.OwnersMore = 3
	for _, tc := range []struct {
		sockets []record.Socket
		family  string
		want    string
	}{
		{[]record.Socket{llc(158)}, "socket", "closing the socket: kill pid 158, or have it close fd 3"},
		{[]record.Socket{llc(1), llc(2)}, "socket", "closing all of the 2 descriptors: a socket lives until its last one is closed"},
		{[]record.Socket{many}, "socket", "closing all of the 5 descriptors: a socket lives until its last one is closed"},
		{[]record.Socket{flight}, "socket", "closing the socket (inode 1204), of which no process has a descriptor: it may be in flight in a message of another socket (SCM_RIGHTS)"},
		{[]record.Socket{kernels}, "socket", "no process has the socket: it is the kernel's own, or about to be freed"},
		{nil, "bridge_port", "ip link set hold7 nomaster, or deleting the bridge"},
		{nil, "not listed", ""},
	} {
		o := heldObject(tc.family, "x.dev", true)
		o.Sockets = tc.sockets
		f := run(o, searchOf(2))[1]
		if got := f.Details["release"]; fmt.Sprint(got) != fmt.Sprint(map[bool]any{true: nil, false: tc.want}[tc.want == ""]) {
			t.Errorf("%v of %s: %v, want %q", tc.sockets, tc.family, got, tc.want)
		}
	}
}

// A verdict says what it could not see.
func TestASearchThatMissedMemoryIsIncomplete(t *testing.T) {
	missed := searchOf(2)
	missed.Vanished, missed.Untyped = 3, []string{"bridge", "veth"}
	for _, f := range run(missed) {
		if f.Evidence.Complete || f.Evidence.Lost["pages_vanished"] != 3 {
			t.Errorf("%s: evidence %+v", f.Kind, f.Evidence)
		}
		if !strings.Contains(f.Evidence.How, "64 MiB of it in 16384 pages") {
			t.Errorf("%s: how %q", f.Kind, f.Evidence.How)
		}
	}
}

// Pointers beyond the most that are kept may be what explains a reference.
func TestNothingLooksLeakedWherePointersWereDropped(t *testing.T) {
	dropped := searchOf(2)
	dropped.Dropped = 5
	got := run(dropped)
	if len(got) != 1 || got[0].Evidence.Lost["pointers_dropped"] != 5 {
		t.Fatalf("%d findings", len(got))
	}
	const want = "5 pointers were found that could not be kept: search for fewer devices"
	if f := got[0].Facts[1]; f.Label != "dropped" || f.Text != want {
		t.Errorf("fact %+v", f)
	}
}

// The table of what is searched for has names that people read, for each family.
func TestEveryFamilyHasWords(t *testing.T) {
	for name, family := range foundFamilies {
		if family.words == "" {
			t.Errorf("%s has no words", name)
		}
	}
}

// A page that was left out of a crash dump may have the object that explains a reference,
// and the process that has a socket open.
func TestNothingLooksLeakedWhereADumpHasNotAllOfTheMemory(t *testing.T) {
	dumped := searchOf(3)
	dumped.Dump, dumped.NotSaved = "6.12.117", 152
	socket := heldObject("socket", "llc_sock.dev", true)
	socket.Sockets = []record.Socket{llc()}
	got := run(socket, dumped)
	if len(got) != 2 || got[0].Kind != KindHeld || got[1].Kind != KindHolder {
		t.Fatalf("findings %+v", got)
	}
	for _, f := range got {
		if f.Evidence.Complete || f.Evidence.Lost["pages_not_saved"] != 152 || f.Details["crash_dump_of"] != "6.12.117" {
			t.Errorf("%s: evidence %+v, details %v", f.Kind, f.Evidence, f.Details)
		}
		if !strings.HasPrefix(f.Evidence.How, "search of a crash dump of Linux 6.12.117: 64 MiB of it") {
			t.Errorf("%s: how %q", f.Kind, f.Evidence.How)
		}
	}
	const fact = "152 pages that can have objects are not in the dump: what they had is not known"
	if !slices.Contains(got[0].Facts, finding.Fact{Label: "not saved", Text: fact}) {
		t.Errorf("facts %+v", got[0].Facts)
	}
	const release = "closing the socket (inode 1204); which process has it is not in what was saved"
	if got[1].Details["release"] != release {
		t.Errorf("release %v", got[1].Details["release"])
	}

	// With all of it there is nothing to doubt.
	dumped.NotSaved = 0
	if got := run(socket, dumped); len(got) != 3 || got[2].Kind != KindLeaked {
		t.Errorf("findings %+v", got)
	}
}
