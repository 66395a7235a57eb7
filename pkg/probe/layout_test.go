// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// The C and the Go spelling of a record must mean the same bytes. Each case
// writes values where the compiled object's own type information says that the C
// fields are, and reads them with the Go decoder.
func TestRecordsAreDecodedWhereTheProgramsPutThem(t *testing.T) {
	thread := func(prefix string, tgid, tid, start uint64) map[string]uint64 {
		return map[string]uint64{prefix + ".tgid": tgid, prefix + ".tid": tid, prefix + ".start": start, prefix + ".comm": 'd'}
	}
	netns := func(prefix string, cookie, inum uint64) map[string]uint64 {
		return map[string]uint64{prefix + ".cookie": cookie, prefix + ".inum": inum}
	}
	stacks := map[string]uint64{
		"stacks.kernel_bytes": 8, "stacks.kernel": 0xffffffff81000001,
		"stacks.user_bytes": ^uint64(13), "stacks.user": 77,
	}
	wantStacks := record.Stacks{Kernel: []uint64{0xffffffff81000001}, UserErr: 14}

	csumDevice := map[string]uint64{
		"device.netns.cookie": 1, "device.netns.inum": 2, "device.peer_netns.cookie": 3, "device.peer_netns.inum": 4,
		"device.packets": 5, "device.ifindex": 6, "device.peer_ifindex": 7, "device.name": 'v', "device.peer_name": 'e',
		"device.by": 2, "device.direction": 1, "device.birth": 8,
	}
	wantCsumDevice := record.CsumDevice{
		Netns: record.NetnsID{Cookie: 1, Inode: 2}, PeerNetns: record.NetnsID{Cookie: 3, Inode: 4},
		Packets: 5, Ifindex: 6, PeerIfindex: 7, Name: "v", PeerName: "e", By: record.CsumByTC, Direction: record.CsumIngress, Birth: 8,
	}

	tests := []struct {
		object func() (*ebpf.CollectionSpec, error)
		kind   string
		number uint64
		fields []map[string]uint64
		want   record.Record
	}{
		{
			loadThreads, "netns_switch_record", 1,
			[]map[string]uint64{
				thread("thread", 1, 2, 3), netns("home", 4, 5), netns("from", 6, 7), netns("to", 8, 9),
				{"nr_threads": 10, "clones": 11},
				stacks,
			},
			&record.NetnsSwitch{
				Time: 99, Thread: record.Thread{TGID: 1, TID: 2, Start: 3, Comm: "d"},
				Home: record.NetnsID{Cookie: 4, Inode: 5}, From: record.NetnsID{Cookie: 6, Inode: 7},
				To: record.NetnsID{Cookie: 8, Inode: 9}, Threads: 10, Clones: 11, Stacks: wantStacks,
			},
		},
		{
			loadThreads, "thread_clone_record", 2,
			[]map[string]uint64{
				thread("parent", 1, 2, 3), thread("child", 4, 5, 6), netns("home", 7, 8), netns("away", 9, 10),
				{"left_home": 11, "nr_threads": 12, "left_alone": 1},
				stacks,
			},
			&record.ThreadClone{
				Time: 99, Parent: record.Thread{TGID: 1, TID: 2, Start: 3, Comm: "d"},
				Child: record.Thread{TGID: 4, TID: 5, Start: 6, Comm: "d"},
				Home:  record.NetnsID{Cookie: 7, Inode: 8}, Away: record.NetnsID{Cookie: 9, Inode: 10},
				LeftHome: 11, Threads: 12, LeftAlone: true, Stacks: wantStacks,
			},
		},
		{
			loadThreads, "thread_exit_record", 3,
			[]map[string]uint64{thread("thread", 1, 2, 3), netns("netns", 4, 5), {"sockets": 6, "connects": 7, "failures": 8}},
			&record.ThreadExit{
				Time: 99, Thread: record.Thread{TGID: 1, TID: 2, Start: 3, Comm: "d"}, Netns: record.NetnsID{Cookie: 4, Inode: 5},
				Sockets: 6, Connects: 7, Failures: 8,
			},
		},
		{
			loadThreads, "thread_seen_record", 4,
			[]map[string]uint64{thread("thread", 1, 2, 3), netns("home", 4, 5), netns("netns", 6, 7), {"nr_threads": 8}},
			&record.ThreadSeen{
				Time: 99, Thread: record.Thread{TGID: 1, TID: 2, Start: 3, Comm: "d"},
				Home: record.NetnsID{Cookie: 4, Inode: 5}, Netns: record.NetnsID{Cookie: 6, Inode: 7}, Threads: 8,
			},
		},
		{
			loadThreads, "process_record", 7,
			[]map[string]uint64{thread("leader", 1, 2, 3), netns("netns", 4, 5), {"nr_threads": 6, "named": 1}},
			&record.Process{
				Time: 99, Event: record.ProcessExit, Leader: record.Thread{TGID: 1, TID: 2, Start: 3, Comm: "d"},
				Home: record.NetnsID{Cookie: 4, Inode: 5}, Threads: 6, Named: true,
			},
		},
		{
			loadThreads, "stranded_call_record", 8,
			[]map[string]uint64{thread("thread", 1, 2, 3), netns("netns", 4, 5), {
				"call": 2, "result": ^uint64(100), "sockets": 6, "connects": 7, "failures": 8,
				"family": 9, "socket_type": 10, "protocol": 11, "address_bytes": 8, "address": 0x0100007f50000002,
			}},
			&record.StrandedCall{
				Time: 99, Thread: record.Thread{TGID: 1, TID: 2, Start: 3, Comm: "d"}, Netns: record.NetnsID{Cookie: 4, Inode: 5},
				Call: record.CallConnect, Result: -101, Sockets: 6, Connects: 7, Failures: 8,
				Family: 9, Type: 10, Protocol: 11, Address: []byte{2, 0, 0, 0x50, 0x7f, 0, 0, 1},
			},
		},
		{
			loadRefs, "dev_wait_record", 9,
			[]map[string]uint64{
				{"dev": 1, "since": 2},
				netns("netns", 3, 4),
				{"refcount": ^uint64(0), "refcount_known": 1, "ifindex": 5, "name": 'v'},
			},
			&record.DevWait{
				Time: 99, Dev: 1, Since: 2, Netns: record.NetnsID{Cookie: 3, Inode: 4},
				Refcount: -1, RefcountKnown: true, Ifindex: 5, Name: "v",
			},
		},
		{
			loadRefs, "dev_wait_record", 10,
			[]map[string]uint64{{"dev": 1, "since": 2}, netns("netns", 3, 4), {"ifindex": 5, "name": 'v'}},
			&record.DevFree{Time: 99, Dev: 1, Since: 2, Netns: record.NetnsID{Cookie: 3, Inode: 4}, Ifindex: 5, Name: "v"},
		},
		{
			loadRefs, "holder_record", 18,
			[]map[string]uint64{
				{"dev": 1, "object": 2, "since": 3},
				thread("thread", 4, 5, 6),
				{
					"family": 2, "stack": 7, "object_refs": 8, "object_refs_known": 1,
					"address_family": 2, "handle": 9, "address": 10, "text": 't',
				},
			},
			&record.Holder{
				Time: 99, Dev: 1, Object: 2, Since: 3, Thread: record.Thread{TGID: 4, TID: 5, Start: 6, Comm: "d"},
				Family: record.HolderNeighbour, StackID: 7, ObjectRefs: 8, ObjectRefsKnown: true,
				AddressFamily: 2, Handle: 9, Address: [16]byte{10}, Text: "t",
			},
		},
		{
			loadNames, "netns_birth_record", 19,
			[]map[string]uint64{netns("netns", 1, 2), thread("thread", 3, 4, 5)},
			&record.NetnsBirth{
				Time: 99, Netns: record.NetnsID{Cookie: 1, Inode: 2}, Thread: record.Thread{TGID: 3, TID: 4, Start: 5, Comm: "d"},
			},
		},
		{
			loadPins, "netns_alive_record", 30,
			[]map[string]uint64{netns("netns", 1, 2), {"references": 3, "in_nsfs": 1}},
			&record.NetnsAlive{Time: 99, Netns: record.NetnsID{Cookie: 1, Inode: 2}, References: 3, InNsfs: true},
		},
		{
			loadPins, "netns_list_record", 31,
			[]map[string]uint64{{"namespaces": 1, "whole": 1}},
			&record.NetnsList{Time: 99, Namespaces: 1, Whole: true},
		},
		{
			loadPins, "netns_task_record", 32,
			[]map[string]uint64{thread("thread", 1, 2, 3), netns("netns", 4, 5), {"nsproxy": 6, "leader_inum": 7, "nr_threads": 8}},
			&record.NetnsTask{
				Time: 99, Thread: record.Thread{TGID: 1, TID: 2, Start: 3, Comm: "d"}, Netns: record.NetnsID{Cookie: 4, Inode: 5},
				Nsproxy: 6, Leader: 7, Threads: 8,
			},
		},
		{
			loadPins, "netns_file_record", 33,
			[]map[string]uint64{thread("thread", 1, 2, 3), netns("netns", 4, 5), {
				"object": 6, "inode": 7, "carrier": 8, "fd": 9, "kind": 2, "counted": 1,
				"family": 10, "socket_type": 11, "protocol": 12, "state": 13, "waiting": 14,
			}},
			&record.NetnsFile{
				Time: 99, Thread: record.Thread{TGID: 1, TID: 2, Start: 3, Comm: "d"}, Netns: record.NetnsID{Cookie: 4, Inode: 5},
				Object: 6, Inode: 7, Carrier: 8, FD: 9, Kind: record.NetnsFileSocket, Counted: true,
				Family: 10, Type: 11, Proto: 12, State: 13, Waiting: 14,
			},
		},
		{
			loadRefs, "console_wait_record", 11,
			[]map[string]uint64{{"text": 'u'}},
			&record.ConsoleWait{Time: 99, Text: "u"},
		},
		{
			loadNames, "module_load_record", 12,
			[]map[string]uint64{{"name": 'v'}},
			&record.ModuleLoad{Time: 99, Name: "v"},
		},
		{
			loadCsum, "csum_rewrite_record", 13,
			[]map[string]uint64{csumDevice, {"counts.transitions": 21, "counts.verdicts": 22}},
			&record.CsumRewrite{
				Time: 99, CsumDevice: wantCsumDevice,
				CsumCounts: record.CsumCounts{Transitions: [4][4]uint64{{21}}, Verdicts: record.CsumVerdicts{Good: 22}},
			},
		},
		{
			loadCsum, "csum_corrupt_record", 14,
			[]map[string]uint64{csumDevice, {
				"corrupt": 21, "packet_bytes": 22, "captured_bytes": 2, "family": 2, "protocol": 23, "tags": 24,
				"found": 25, "expected": 26, "source_port": 27, "destination_port": 28,
				"source": 0x0100007f, "destination": 0x0200007f, "packet": 0x0b0a,
			}},
			&record.CsumCorrupt{
				Time: 99, CsumDevice: wantCsumDevice, Corrupt: 21, Bytes: 22, Protocol: 23, Tags: 24, Found: 25, Expected: 26,
				Source: netip.MustParseAddrPort("127.0.0.1:27"), Destination: netip.MustParseAddrPort("127.0.0.2:28"),
				Packet: []byte{0x0a, 0x0b},
			},
		},
		{
			loadDst, "dst_failure_record", 15,
			[]map[string]uint64{
				netns("failure.netns", 1, 2),
				{
					"failure.ops": 3, "failure.count": 4, "failure.entries": ^uint64(4), "failure.counted": 1,
					"failure.gc_thresh": 6, "failure.may_refuse": 1, "failure.kind": 2, "failure.family": 10,
					"failure.ifindex": 7, "failure.name": 'v', "failure.limit": 11, "failure.limit_known": 1,
				},
				thread("thread", 8, 9, 10), stacks,
			},
			&record.DstFailure{
				Time:  99,
				Ops:   record.DstOps{Addr: 3, Kind: record.DstOpsIPv6, Family: 10, Netns: record.NetnsID{Cookie: 1, Inode: 2}},
				Count: 4, Entries: -5, EntriesKnown: true, Threshold: 6, MayRefuse: true, Limit: 11, LimitKnown: true, Ifindex: 7, Name: "v",
				Thread: record.Thread{TGID: 8, TID: 9, Start: 10, Comm: "d"}, Stacks: wantStacks,
			},
		},
		{
			loadDst, "dst_crossing_record", 16,
			[]map[string]uint64{
				netns("crossing.from", 1, 2), netns("crossing.to", 3, 4),
				{
					"crossing.from_ops": 5, "crossing.to_ops": 6, "crossing.count": 7, "crossing.cause": 1,
					"crossing.from_kind": 3, "crossing.to_kind": 4, "crossing.from_family": 2, "crossing.to_family": 10,
					"crossing.nocount": 1,
				},
			},
			&record.DstCrossing{
				Time: 99, Cause: record.DstOtherOps, Count: 7, NoCount: true,
				From: record.DstOps{Addr: 5, Kind: record.DstOpsXfrm4, Family: 2, Netns: record.NetnsID{Cookie: 1, Inode: 2}},
				To:   record.DstOps{Addr: 6, Kind: record.DstOpsXfrm6, Family: 10, Netns: record.NetnsID{Cookie: 3, Inode: 4}},
			},
		},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%T", test.want), func(t *testing.T) {
			fields := []map[string]uint64{{"header.type": test.number, "header.version": 1, "header.time": 99}}
			raw := wire(t, test.object, test.kind, append(fields, test.fields...))
			got, err := new(record.Decoder).Decode(raw)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmp.Comparer(slices.Equal[[]uint64]), cmp.Comparer(equal[netip.AddrPort])); diff != "" {
				t.Errorf("decoded otherwise than written (-want +got):\n%s", diff)
			}
		})
	}
}

func equal[T comparable](a, b T) bool { return a == b }

// wire makes the bytes of a record from the values of its fields.
func wire(t *testing.T, object func() (*ebpf.CollectionSpec, error), kind string, fields []map[string]uint64) []byte {
	t.Helper()
	spec, err := object()
	if err != nil {
		t.Fatal(err)
	}
	var s *btf.Struct
	if err := spec.Types.TypeByName(kind, &s); err != nil {
		t.Fatalf("the object does not describe %s: %v", kind, err)
	}
	raw := make([]byte, s.Size)
	binary.LittleEndian.PutUint32(raw[4:], s.Size)
	for _, group := range fields {
		for path, value := range group {
			offset, size := place(t, s, path)
			var b [8]byte
			binary.LittleEndian.PutUint64(b[:], value)
			copy(raw[offset:offset+size], b[:])
		}
	}
	return raw
}

// place finds a field by its path: where, and how many bytes of a value fit.
func place(t *testing.T, s *btf.Struct, path string) (offset, size uint32) {
	t.Helper()
	head, rest, nested := strings.Cut(path, ".")
	for _, m := range s.Members {
		if m.Name != head {
			continue
		}
		at := m.Offset.Bytes()
		if nested {
			inner, ok := btf.UnderlyingType(m.Type).(*btf.Struct)
			if !ok {
				t.Fatalf("%s is no struct", head)
			}
			offset, size = place(t, inner, rest)
			return at + offset, size
		}
		n, err := btf.Sizeof(m.Type)
		if err != nil {
			t.Fatal(err)
		}
		return at, min(uint32(n), 8)
	}
	t.Fatalf("%s has no field %s", s.Name, head)
	return 0, 0
}

// The names of losses in Go are an index into the C enum.
func TestLossCausesAreInTheOrderOfTheHeader(t *testing.T) {
	f, err := os.Open("../../headers/loss.h")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var inC []string
	room := fmt.Sprintf("\tLOSS_ROOM = %d,", lossRoom)
	found := false
	re := regexp.MustCompile(`^\tLOSS_(\w+),`)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		found = found || strings.HasPrefix(lines.Text(), room)
		if m := re.FindStringSubmatch(lines.Text()); m != nil {
			inC = append(inC, strings.ToLower(m[1]))
		}
	}
	if !found || len(lossCauses) > lossRoom {
		t.Errorf("the header has no line %q, or that is too few for %d causes", room, len(lossCauses))
	}
	var inGo []string
	for _, c := range lossCauses {
		inGo = append(inGo, c.name)
	}
	if diff := cmp.Diff(append(inGo, "causes"), inC); diff != "" {
		t.Errorf("losses are counted under another name (-Go +C):\n%s", diff)
	}
}

// User space reads the values of some maps by hand.
func TestMapValuesAreAsLargeAsTheirStructs(t *testing.T) {
	threads, err := loadThreads()
	if err != nil {
		t.Fatal(err)
	}
	dst, err := loadDst()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct {
		spec *ebpf.MapSpec
		size int
	}{
		{threads.Maps[threadsMapHomes], binary.Size(homeValue{})},
		{threads.Maps[threadsMapAway], binary.Size(awayValue{})},
		{dst.Maps[dstMapFailures], binary.Size(dstFailure{})},
		{dst.Maps[dstMapCrossedEntries], binary.Size(dstCrossingValue{})},
	} {
		if got := m.spec.ValueSize; int(got) != m.size {
			t.Errorf("values of %s are %d bytes in C, %d in Go", m.spec.Name, got, m.size)
		}
	}
}

// The iterator over the threads that are away writes what AwayThreads reads.
func TestAwayLooksAreDecodedWhereTheProgramPutsThem(t *testing.T) {
	spec, err := loadThreads()
	if err != nil {
		t.Fatal(err)
	}
	var look *btf.Struct
	if err := spec.Types.TypeByName("away_look", &look); err != nil {
		t.Fatal(err)
	}
	var got awayLook
	if int(look.Size) != binary.Size(got) {
		t.Fatalf("%d bytes in C, %d in Go", look.Size, binary.Size(got))
	}
	raw := make([]byte, look.Size)
	for path, n := range map[string]byte{
		"home.cookie": 1, "home.inum": 2, "netns.cookie": 3, "netns.inum": 4, "since": 5, "tgid": 6, "tid": 7,
		"left_behind": 8, "left_alone": 9,
	} {
		at, _ := place(t, look, path)
		raw[at] = n
	}
	if _, err := binary.Decode(raw, binary.NativeEndian, &got); err != nil {
		t.Fatal(err)
	}
	want := awayLook{
		Home: netnsID{Cookie: 1, Inum: 2}, Netns: netnsID{Cookie: 3, Inum: 4}, Since: 5, TGID: 6, TID: 7,
		LeftBehind: 8, LeftAlone: 9,
	}
	if got != want {
		t.Errorf("decoded %+v, written %+v", got, want)
	}
}

// A value of the map rewrites begins with what a record has, and its key is made in Go.
func TestRewritesAreDecodedWhereTheProgramsPutThem(t *testing.T) {
	spec, err := loadCsum()
	if err != nil {
		t.Fatal(err)
	}
	m := spec.Maps[csumMapRewrites]
	if got := binary.Size(deviceKey{}); int(m.KeySize) != got {
		t.Errorf("keys are %d bytes in C, %d in Go", m.KeySize, got)
	}
	value, ok := btf.UnderlyingType(m.Value).(*btf.Struct)
	if !ok || m.ValueSize < record.CsumMapBytes {
		t.Fatalf("a value is %v of %d bytes, needs a struct of %d", m.Value, m.ValueSize, record.CsumMapBytes)
	}
	raw := make([]byte, m.ValueSize)
	for path, n := range map[string]uint64{"device.ifindex": 6, "device.name": 'v', "counts.transitions": 9, "counts.verdicts": 22} {
		at, _ := place(t, value, path)
		if path == "counts.transitions" {
			at += 8 // NONE to UNNECESSARY
		}
		raw[at] = byte(n)
	}
	want := record.CsumRewrite{
		CsumDevice: record.CsumDevice{Ifindex: 6, Name: "v", Packets: 9},
		CsumCounts: record.CsumCounts{Transitions: [4][4]uint64{{0, 9}}, Verdicts: record.CsumVerdicts{Good: 22}},
	}
	if diff := cmp.Diff(want, record.DecodeCsumCounts(raw)); diff != "" {
		t.Errorf("decoded otherwise than written (-want +got):\n%s", diff)
	}
}
