// SPDX-License-Identifier: Apache-2.0

package refs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// hold7 waits since second 1, as the device that searchOf finds things of.
func hold7(t float64) record.Record {
	return &record.DevWait{
		Time: at(t), Dev: 1, Since: uint64(at(1)), Netns: host,
		Refcount: 2, RefcountKnown: true, Ifindex: 3, Name: "hold7",
	}
}

// searching runs records through a detector that follows no references.
func searching(records ...record.Record) (out []string, all []*finding.Finding) {
	known := new(finding.Knowledge)
	d := New(known)
	setup := &record.Setup{RefcountBase: 1, RefcountBaseKnown: true, SeesFree: true, SearchesMemory: true}
	for _, r := range append([]record.Record{setup}, records...) {
		known.Observe(r)
		d.Observe(r, func(f *finding.Finding) {
			out = append(out, fmt.Sprintf("%s %s %d", f.State, f.Kind, f.Count))
			all = append(all, f)
		})
	}
	return out, all
}

func TestASearchIsPartOfAWait(t *testing.T) {
	socket := heldObject("socket", "llc_sock.dev", true)
	socket.Sockets = []record.Socket{llc(158)}
	later := func(r record.HolderSearch, t float64) *record.HolderSearch {
		r.Time = at(t)
		return &r
	}
	other := searchOf(2)
	other.Ifindex = 9
	moved := searchOf(3)
	moved.Moved = true
	released := &record.DevFree{Time: at(80), Dev: 1}
	for _, tc := range []struct {
		name    string
		records []record.Record
		want    []string
	}{
		{
			"at first it is not known what holds it",
			[]record.Record{hold7(2)},
			[]string{"opened waiting 1"},
		},
		{
			"a socket was found, and let go at last",
			[]record.Record{hold7(2), socket, searchOf(2), hold7(11), released},
			[]string{"opened waiting 1", "updated waiting 1", "opened holder 1", "closed holder 0", "closed released 0"},
		},
		{
			"nothing was found that has it",
			[]record.Record{hold7(2), searchOf(3), released},
			[]string{"opened waiting 1", "updated waiting 2", "opened leaked 2", "closed leaked 0", "closed released 0"},
		},
		{
			"references moved during the search: nothing is called leaked",
			[]record.Record{hold7(2), moved},
			[]string{"opened waiting 1", "updated waiting 2"},
		},
		{
			"the second search finds the same: that is no news of the socket",
			[]record.Record{hold7(2), socket, searchOf(2), hold7(69), socket, later(*searchOf(2), 70)},
			[]string{"opened waiting 1", "updated waiting 1", "opened holder 1", "updated waiting 1"},
		},
		{
			"or that the socket is gone, and something else is not",
			[]record.Record{hold7(2), socket, searchOf(3), hold7(69), later(*searchOf(3), 70)},
			[]string{
				"opened waiting 1", "updated waiting 2", "opened holder 1", "opened leaked 1",
				"updated waiting 2", "closed holder 0", "updated leaked 2",
			},
		},
		{
			"references move during the second search: what looked leaked is not over for that",
			[]record.Record{hold7(2), searchOf(3), hold7(69), later(*moved, 70), hold7(129), later(*searchOf(3), 130), released},
			[]string{
				"opened waiting 1", "updated waiting 2", "opened leaked 2", "updated waiting 2", "updated waiting 2",
				"closed leaked 0", "closed released 0",
			},
		},
		{
			"it was freed before the search was read",
			[]record.Record{hold7(2), &record.DevFree{Time: at(9), Dev: 1}, socket, searchOf(2)},
			[]string{"opened waiting 1", "closed released 0"},
		},
		{
			"its memory is another device's by then",
			[]record.Record{hold7(2), socket, other},
			[]string{"opened waiting 1"},
		},
		{
			"fewer references than none",
			[]record.Record{hold7(2), searchOf(0)},
			[]string{"opened waiting 1", "updated waiting -1", "opened over-put 1"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, _ := searching(tc.records...)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What was found, when, and how long it had waited by then is in each verdict; what the
// search could not see is in its evidence.
func TestASearchIsTheEvidence(t *testing.T) {
	socket := heldObject("socket", "llc_sock.dev", true)
	socket.Sockets = []record.Socket{llc(158)}
	search := searchOf(3)
	search.Vanished = 2
	_, all := searching(hold7(2), socket, search)
	if len(all) != 4 {
		t.Fatalf("%d findings", len(all))
	}
	const after = "it ended 9s after it began to wait"
	for _, f := range all[1:] {
		if !strings.Contains(f.Evidence.How, "search of the kernel's memory") || !strings.Contains(f.Evidence.How, after) {
			t.Errorf("%s: evidence %q", f.Kind, f.Evidence.How)
		}
		if f.Evidence.Complete || f.Evidence.Lost["pages_vanished"] != 2 {
			t.Errorf("%s: complete %v, lost %v, though pages vanished", f.Kind, f.Evidence.Complete, f.Evidence.Lost)
		}
	}
	waiting, holder := all[1], all[2]
	for key, want := range map[string]any{"certain": int64(1), "likely": int64(0), "unexplained": int64(1), "own": int32(1)} {
		if waiting.Details[key] != want {
			t.Errorf("%s is %v, want %v", key, waiting.Details[key], want)
		}
	}
	if holder.Process == nil || holder.Process.PID != 158 || holder.Details["source"] != "search" || holder.Details["waiting"] != waiting.ID {
		t.Errorf("holder: %+v, %v", holder.Process, holder.Details)
	}
}

// More objects hold it than are told: those of the first search stay, whatever comes first in
// the second.
func TestObjectsThatWereToldStay(t *testing.T) {
	objects := func(first int) []record.Record {
		var list []record.Record
		for i := range holdersTold + 8 {
			o := heldObject("neighbour", "neighbour.dev", true)
			o.Object = uint64(0x1000 + (first+i)%(holdersTold+8))
			list = append(list, o)
		}
		return list
	}
	again := searchOf(holdersTold + 9)
	again.Time = at(70)
	records := append([]record.Record{hold7(2)}, objects(0)...)
	records = append(append(records, searchOf(holdersTold+9), hold7(69)), objects(8)...)
	_, all := searching(append(records, again)...)
	opened := 0
	for _, f := range all {
		switch {
		case f.Kind != KindHolder:
		case f.State == finding.Closed:
			t.Fatalf("closed although it is still there: %s", f.Summary)
		case f.State == finding.Opened:
			opened++
		}
	}
	if opened != holdersTold {
		t.Errorf("%d holders opened, want %d", opened, holdersTold)
	}
}
