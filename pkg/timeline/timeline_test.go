// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"fmt"
	"strings"
	"testing"

	"github.com/netns-trace/netns-trace/pkg/record"
)

var (
	home  = record.NetnsID{Cookie: 1, Inode: 1}
	redis = record.NetnsID{Cookie: 2, Inode: 2}
	mongo = record.NetnsID{Cookie: 3, Inode: 3}
)

func thread(tid uint32) record.Thread { return record.Thread{TGID: 10, TID: tid, Start: 1} }

func move(at record.Time, tid uint32, from, to record.NetnsID) *record.NetnsSwitch {
	return &record.NetnsSwitch{Time: at, Thread: thread(tid), Home: home, From: from, To: to}
}

// told words the threads of a timeline: "11: 2 from 5 to 7".
func told(tl *Timeline) string {
	var out []string
	for _, th := range tl.Threads {
		word := fmt.Sprintf("%d:", th.TID)
		for _, s := range th.Spans {
			word += fmt.Sprintf(" in %d from %d to %d", s.Netns.Inode, s.From, s.To)
		}
		if th.Parent != nil {
			word += fmt.Sprintf(", cloned at %d by %d", th.Cloned, th.Parent.TID)
		}
		if th.Exited != 0 {
			word += fmt.Sprintf(", exited at %d", th.Exited)
		}
		if th.Open {
			word += ", still away"
		}
		out = append(out, word)
	}
	return strings.Join(out, "\n")
}

func TestWhereThreadsWere(t *testing.T) {
	clone := &record.ThreadClone{Time: 6, Parent: thread(11), Child: thread(12), Home: home, Away: redis, LeftHome: 5}
	for _, test := range []struct {
		name    string
		records []record.Record
		want    string
	}{
		{"there and back", []record.Record{move(5, 11, home, redis), move(7, 11, redis, home)}, "11: in 2 from 5 to 7"},
		{
			"on to another",
			[]record.Record{move(5, 11, home, redis), move(7, 11, redis, mongo), move(9, 11, mongo, home)},
			"11: in 2 from 5 to 7 in 3 from 7 to 9",
		},
		{"away from before the beginning", []record.Record{&record.Tick{Time: 2}, move(7, 11, redis, home)}, "11: in 2 from 2 to 7"},
		{
			"a clone is left behind",
			[]record.Record{move(5, 11, home, redis), clone, move(7, 11, redis, home), &record.Tick{Time: 20}},
			"11: in 2 from 5 to 7\n12: in 2 from 6 to 20, cloned at 6 by 11, still away",
		},
		{
			"its parent's leaving was not seen",
			[]record.Record{clone, &record.ThreadExit{Time: 9, Thread: thread(12), Netns: redis}},
			"11: in 2 from 5 to 9, still away\n12: in 2 from 6 to 9, cloned at 6 by 11, exited at 9",
		},
		{
			"the process ends",
			[]record.Record{move(5, 11, home, redis), &record.Process{Time: 8, Event: record.ProcessExit, Leader: thread(10)}},
			"11: in 2 from 5 to 8, exited at 8",
		},
		{
			"records were lost: a way home and a clone",
			[]record.Record{
				move(5, 11, home, redis),
				&record.AwayThreads{Time: 9, Threads: []record.AwayThread{{TGID: 10, TID: 13, Home: home, Netns: mongo, Since: 6}}},
			},
			"11: in 2 from 5 to 9\n13: in 3 from 6 to 9, still away",
		},
		{
			"a number is another thread's",
			[]record.Record{
				move(5, 11, home, redis), move(6, 11, redis, home),
				&record.NetnsSwitch{Time: 8, Thread: record.Thread{TGID: 77, TID: 11, Start: 7}, Home: home, From: home, To: mongo}, &record.Tick{Time: 9},
			},
			"11: in 2 from 5 to 6\n11: in 3 from 8 to 9, still away",
		},
	} {
		tl := New()
		for _, rec := range test.records {
			tl.Observe(rec)
		}
		tl.Finish()
		if got := told(tl); got != test.want {
			t.Errorf("%s:\n%s\nwant:\n%s", test.name, got, test.want)
		}
	}
}

func TestWhoHeldADevice(t *testing.T) {
	tl := New()
	wait := func(at record.Time, refs int32) {
		tl.Observe(&record.DevWait{Time: at, Dev: 7, Since: 1, Name: "veth1", Refcount: refs, RefcountKnown: true})
	}
	scan := func(at record.Time, counts ...record.HolderCount) {
		tl.Observe(&record.HolderScan{Time: at, Counts: counts})
	}
	wait(2, 4)
	scan(3, record.HolderCount{Dev: 7, Family: record.HolderDst, Count: 2})
	wait(4, 4)
	wait(5, 4)
	scan(6, record.HolderCount{Dev: 7, Family: record.HolderDst, Count: 1}, record.HolderCount{Dev: 7, Family: record.HolderNeighbour, Count: 1})
	scan(8)
	tl.Observe(&record.DevFree{Time: 9, Dev: 7})
	tl.Finish()
	d := tl.Devices[0]
	if got, want := fmt.Sprint(d.Refs), "[{2 [4]} {5 [4]}]"; got != want {
		t.Errorf("references %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(d.Holders, d.Families), "[{3 [2 0]} {6 [1 1]} {8 [0 0]}] [1 2]"; got != want {
		t.Errorf("holders %s, want %s", got, want)
	}
	if d.Freed != 9 || d.Since != 1 {
		t.Errorf("from %d to %d, want from 1 to 9", d.Since, d.Freed)
	}
}

func TestWhatReferencesWereTakenFor(t *testing.T) {
	trace := func(family string, count, first, last uint64) record.RefTrace {
		return record.RefTrace{Family: family, Count: count, First: first, Last: last}
	}
	site := func(put bool, family string, hits uint64, traces ...record.RefTrace) record.RefSite {
		return record.RefSite{Put: put, Family: family, Hits: hits, Traces: traces}
	}
	for _, test := range []struct {
		name  string
		sites []record.RefSite
		want  string
	}{
		{"taken once", []record.RefSite{site(false, "socket", 1, trace("socket", 1, 20, 20))}, "socket since 10: 0 at 10, 1 at 20, 1 at 50"},
		{
			"taken twice, dropped once",
			[]record.RefSite{site(false, "dst", 2, trace("dst", 2, 20, 40)), site(true, "dst", 1, trace("dst", 1, 30, 30))},
			"dst since 10: 0 at 10, 1 at 20, 0 at 30, 1 at 40, 1 at 50",
		},
		{
			"of many the times between are not known",
			[]record.RefSite{site(false, "dst", 9, trace("dst", 8, 20, 40), trace("dst", 1, 45, 45)), site(true, "dst", 7, trace("dst", 7, 21, 41))},
			"dst since 41: 1 at 41, 2 at 45, 2 at 50",
		},
		{"nor those without a trace", []record.RefSite{site(false, "dst", 3, trace("dst", 1, 20, 20))}, "dst since 50: 3 at 50, 3 at 50"},
		{"taken while the ledger was read", []record.RefSite{site(false, "dst", 1, trace("dst", 1, 51, 51))}, "dst since 10: 0 at 10, 1 at 50, 1 at 50"},
	} {
		tl := New()
		tl.Observe(&record.DevWait{Time: 49, Dev: 7, Since: 48, Name: "veth1"})
		tl.Observe(&record.RefLedger{Time: 50, Dev: 7, Generation: 10, Sites: test.sites})
		p := tl.Devices[0].Purposes[0]
		got := fmt.Sprintf("%s since %d:", p.Family, p.Known)
		for i, pt := range p.Left {
			got += fmt.Sprintf("%s %d at %d", []string{"", ","}[min(i, 1)], pt.Values[0], pt.At)
		}
		if got != test.want {
			t.Errorf("%s:\n%s\nwant:\n%s", test.name, got, test.want)
		}
	}
}

func TestALedgerIsReadAgain(t *testing.T) {
	tl := New()
	socket := func(at record.Time, generation uint64, hits ...uint64) {
		r := &record.RefLedger{Time: at, Dev: 7, Generation: generation, Before: 1, Settled: true}
		for i, n := range hits {
			r.Sites = append(r.Sites, record.RefSite{Family: "socket", Put: i == 1, Hits: n})
		}
		tl.Observe(r)
	}
	socket(40, 10, 1) // of a device that does not wait
	tl.Observe(&record.DevWait{Time: 49, Dev: 7, Since: 48, Name: "veth1"})
	socket(50, 10, 2)
	socket(60, 10, 2)
	socket(70, 10, 2)
	socket(80, 10, 2, 2)
	if got, want := fmt.Sprint(tl.Devices[0].Purposes[0].Left), "[{50 [2]} {70 [2]} {80 [0]}]"; got != want {
		t.Errorf("references %s, want %s", got, want)
	}
	socket(90, 11, 5) // another device of that address
	if d := tl.Devices[0]; len(d.Purposes) != 1 || d.Counted != 11 || fmt.Sprint(d.Purposes[0].Left[0]) != "{90 [5]}" {
		t.Errorf("counted since %d: %v", d.Counted, d.Purposes[0].Left)
	}
}

func TestATimelineIsBounded(t *testing.T) {
	tl := New()
	for i := range uint32(threadsMax + 10) {
		tl.Observe(&record.NetnsSwitch{Time: record.Time(i + 1), Thread: record.Thread{TGID: i, TID: i, Start: 1}, Home: home, From: home, To: redis})
	}
	if len(tl.Threads) != threadsMax || tl.Dropped < 10 {
		t.Errorf("%d threads, %d dropped", len(tl.Threads), tl.Dropped)
	}
	for i := range 10 * pointsMax {
		tl.Observe(&record.DstCounter{Time: record.Time(i + 1), Ops: record.DstOps{Addr: 1}, Entries: int64(i)})
	}
	if n := len(tl.Counters[0].Points); n > pointsMax+1 {
		t.Errorf("%d points of a counter", n)
	}
}
