// SPDX-License-Identifier: Apache-2.0

package threads

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

const second = uint64(time.Second)

var (
	host  = record.NetnsID{Cookie: 1, Inode: 100}
	redis = record.NetnsID{Cookie: 2, Inode: 200}
	mysql = record.NetnsID{Cookie: 3, Inode: 300}
)

func tid(n uint32) record.Thread { return record.Thread{TGID: 10, TID: n, Comm: "dockerd"} }

func at(seconds float64) record.Time { return record.Time(seconds * float64(second)) }

// leaves, returns and clones are what the kernel reports of a daemon with threads.
func leaves(t float64, n uint32, to record.NetnsID) record.Record {
	return &record.NetnsSwitch{Time: at(t), Thread: tid(n), Home: host, From: host, To: to, Threads: 20}
}

func returns(t float64, n uint32, from record.NetnsID) record.Record {
	return &record.NetnsSwitch{Time: at(t), Thread: tid(n), Home: host, From: from, To: host, Threads: 20}
}

func clones(t float64, parent, child uint32, alone bool) record.Record {
	return &record.ThreadClone{
		Time: at(t), Parent: tid(parent), Child: tid(child), Home: host, Away: redis,
		LeftHome: uint64(at(t - 0.25)), Threads: 20, LeftAlone: alone,
	}
}

func exits(t float64, n uint32) record.Record {
	return &record.ThreadExit{Time: at(t), Thread: tid(n), Netns: redis}
}

func seen(t float64, n uint32, threads uint32) record.Record {
	return &record.ThreadSeen{Time: at(t), Thread: tid(n), Home: host, Netns: redis, Threads: threads}
}

func tick(t float64) record.Record { return &record.Tick{Time: at(t)} }

func named() record.Record {
	return &record.Process{Event: record.ProcessSeen, Leader: tid(10), Home: host, Named: true}
}

// told runs records through a detector and gives "kind tid state" for each finding.
func told(cfg Config, records ...record.Record) (out []string, all []*finding.Finding) {
	known := new(finding.Knowledge)
	if cfg.Away == 0 {
		cfg.Away = 5 * time.Second
	}
	d := New(cfg, known)
	for _, r := range records {
		known.Observe(r)
		d.Observe(r, func(f *finding.Finding) {
			out = append(out, fmt.Sprintf("%s %d %s", f.Kind, f.Process.TID, f.State))
			all = append(all, f)
		})
	}
	return out, all
}

func TestDetector(t *testing.T) {
	tests := []struct {
		name    string
		cfg     Config
		records []record.Record
		want    []string
	}{
		{
			"cloned while its parent was in a container, and left behind (moby/libnetwork#1113)",
			Config{},
			[]record.Record{leaves(1, 11, redis), clones(1.25, 11, 12, false), returns(2, 11, redis)},
			[]string{"cloned-mid-setns 12 opened", "stranded 12 updated"},
		},
		{
			"a short window with a way back is nobody's bug",
			Config{},
			[]record.Record{leaves(1, 11, redis), tick(3), returns(4, 11, redis), tick(30)},
			nil,
		},
		{
			"two windows in a row, each from home to home",
			Config{},
			[]record.Record{leaves(1, 11, redis), returns(2, 11, redis), leaves(5, 11, mysql), returns(6, 11, mysql), tick(30)},
			nil,
		},
		{
			"from one container to the next the window goes on",
			Config{},
			[]record.Record{
				leaves(1, 11, redis),
				&record.NetnsSwitch{Time: at(4), Thread: tid(11), Home: host, From: redis, To: mysql, Threads: 20},
				tick(7),
			},
			[]string{"never-returned 11 opened"},
		},
		{
			"gone and never returned; it comes home after all",
			Config{Away: time.Second},
			[]record.Record{leaves(1, 11, redis), tick(2.5), tick(9), returns(10, 11, redis)},
			[]string{"never-returned 11 opened", "recovered 11 closed"},
		},
		{
			"a goroutine that ends locked takes its thread with it",
			Config{},
			[]record.Record{leaves(1, 11, redis), exits(1.1, 11), tick(30)},
			nil,
		},
		{
			"the parent exits instead of going home: nobody will fetch the clone",
			Config{},
			[]record.Record{leaves(1, 11, redis), clones(1.25, 11, 12, false), exits(2, 11)},
			[]string{"cloned-mid-setns 12 opened", "stranded 12 updated"},
		},
		{
			"the clone ends in the window: told, and closed",
			Config{},
			[]record.Record{leaves(1, 11, redis), clones(1.25, 11, 12, false), exits(1.5, 12), returns(2, 11, redis)},
			[]string{"cloned-mid-setns 12 opened", "exited 12 closed"},
		},
		{
			"a stranded thread clones further ones, whose parent never goes home",
			Config{},
			[]record.Record{leaves(1, 11, redis), clones(1.25, 11, 12, false), returns(2, 11, redis), clones(3, 12, 13, false)},
			[]string{"cloned-mid-setns 12 opened", "stranded 12 updated", "cloned-mid-setns 13 opened"},
		},
		{
			"a process of one thread moves, then makes threads: perhaps it means to stay",
			Config{},
			[]record.Record{clones(1, 10, 12, true), tick(60)},
			nil,
		},
		{
			"but when it goes home without them, they are left behind",
			Config{},
			[]record.Record{clones(1, 10, 12, true), returns(2, 10, redis)},
			[]string{"stranded 12 opened"},
		},
		{
			"and if the user named the process there is nothing to wait for",
			Config{},
			[]record.Record{named(), clones(1, 10, 12, true), returns(2, 10, redis)},
			[]string{"cloned-mid-setns 12 opened", "stranded 12 updated"},
		},
		{
			"stranded long before tracing; not told before --away has passed",
			Config{},
			[]record.Record{seen(1, 12, 20), tick(5.9), tick(6)},
			[]string{"stranded-before 12 opened"},
		},
		{
			"seen away at the start, but it was only in a window",
			Config{},
			[]record.Record{seen(1, 12, 20), returns(2, 12, redis), tick(30)},
			nil,
		},
		{
			"threads may live anywhere, says the user",
			Config{HomeAny: true},
			[]record.Record{seen(1, 12, 20), leaves(1, 11, redis), clones(2, 11, 13, false), tick(60)},
			nil,
		},
		{
			"even then a clone that its parent leaves behind is one",
			Config{HomeAny: true},
			[]record.Record{leaves(1, 11, redis), clones(2, 11, 13, false), returns(3, 11, redis)},
			[]string{"stranded 13 opened"},
		},
		{
			"but not one whose parent lives there and visits home",
			Config{HomeAny: true, Away: time.Second},
			[]record.Record{clones(2, 11, 13, false), returns(30, 11, redis)},
			nil,
		},
		{
			"nor one whose parent ends",
			Config{HomeAny: true},
			[]record.Record{clones(2, 11, 13, false), exits(3, 11)},
			nil,
		},
		{
			"a process that moved as a whole ends, thread by thread",
			Config{},
			[]record.Record{clones(1, 10, 12, true), exits(2, 10), exits(2, 12)},
			nil,
		},
		{
			"its way home was lost, and it leaves home again: not one long window",
			Config{},
			[]record.Record{leaves(1, 11, redis), leaves(5, 11, redis), tick(6.5), returns(7, 11, redis), tick(30)},
			nil,
		},
		{
			"the process becomes another program: its threads are gone",
			Config{},
			[]record.Record{
				leaves(1, 11, redis), clones(1.25, 11, 12, false), returns(2, 11, redis),
				&record.Process{Time: at(3), Event: record.ProcessExec, Leader: tid(10)}, tick(30),
			},
			[]string{"cloned-mid-setns 12 opened", "stranded 12 updated", "exited 12 closed"},
		},
		{
			"records were lost: the kernel's list puts the picture right",
			Config{Away: time.Second},
			[]record.Record{
				leaves(1, 11, redis), // and its way home was lost
				&record.AwayThreads{Time: at(1.5), Threads: []record.AwayThread{
					{TGID: 10, TID: 12, Home: host, Netns: redis, Since: uint64(at(1.2)), LeftBehind: true},
				}},
				tick(5),
			},
			[]string{"stranded 12 opened"},
		},
		{
			"a thread that goes to and fro: the list tells that it is away anew, not still",
			Config{Away: time.Second},
			[]record.Record{
				leaves(1, 11, redis), // its way home and the next one out were lost
				&record.AwayThreads{Time: at(1.9), Threads: []record.AwayThread{
					{TGID: 10, TID: 11, Home: host, Netns: redis, Since: uint64(at(1.8))},
				}},
				tick(2.1),
				&record.AwayThreads{Time: at(2.2)},
				tick(5),
			},
			nil,
		},
		{
			"and tells that the way home of a clone's parent was lost",
			Config{},
			[]record.Record{
				leaves(1, 11, redis), clones(1.25, 11, 12, false),
				&record.AwayThreads{Time: at(2), Threads: []record.AwayThread{{TGID: 10, TID: 12, LeftBehind: true}}},
				&record.AwayThreads{Time: at(3)},
			},
			[]string{"cloned-mid-setns 12 opened", "stranded 12 updated", "ended 12 closed"},
		},
		{
			"moves are told late: who stays is in the list, and its time is long over",
			Config{Away: time.Second},
			[]record.Record{
				&record.AwayThreads{Time: at(2.5), Threads: []record.AwayThread{
					{TGID: 10, TID: 11, Home: host, Netns: redis, Since: uint64(at(1))},
				}},
				tick(2.6),
				&record.AwayThreads{Time: at(3.5), Threads: []record.AwayThread{
					{TGID: 10, TID: 11, Home: host, Netns: redis, Since: uint64(at(1))},
				}},
				returns(4, 11, redis),
				&record.AwayThreads{Time: at(4.5)},
			},
			[]string{"never-returned 11 opened", "recovered 11 closed"},
		},
		{
			"and a parent that was not told of leaves its clone behind",
			Config{},
			[]record.Record{clones(1.25, 11, 12, false), returns(2, 11, redis)},
			[]string{"cloned-mid-setns 12 opened", "stranded 12 updated"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, _ := told(test.cfg, test.records...)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// Live and replay must say the same: the order of a map is no order.
func TestTheSameRecordsGiveTheSameFindings(t *testing.T) {
	records := []record.Record{leaves(1, 11, redis)}
	for n := range uint32(50) {
		records = append(records, clones(2, 11, 20+n, false), seen(2, 200+n, 5000))
	}
	records = append(records, returns(3, 11, redis), tick(30))
	first, _ := told(Config{}, records...)
	for range 10 {
		if again, _ := told(Config{}, records...); !cmp.Equal(first, again) {
			t.Fatal("the same records gave other findings")
		}
	}
}

func TestHarmIsCountedAndToldAtMostEveryTenSeconds(t *testing.T) {
	call := func(t float64, connects uint64) record.Record {
		return &record.StrandedCall{
			Time: at(t), Thread: tid(12), Netns: redis, Call: record.CallConnect, Result: -101,
			Connects: connects, Failures: connects, Address: []byte{2, 0, 1, 187, 192, 0, 2, 1},
		}
	}
	got, all := told(
		Config{}, leaves(1, 11, redis), clones(1.25, 11, 12, false), returns(2, 11, redis),
		call(3, 1), call(4, 2), call(14, 200), exits(20, 12),
	)
	want := []string{
		"cloned-mid-setns 12 opened", "stranded 12 updated",
		"harm 12 updated", "harm 12 updated", "exited 12 closed",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("findings (-want +got):\n%s", diff)
	}
	if text := all[2].Summary; !strings.Contains(text, "connect to 192.0.2.1:443 failed: ENETUNREACH") {
		t.Errorf("the harm does not say what happened: %s", text)
	}
	if all[3].Count != 200 {
		t.Errorf("%d failures counted, want the 200 that the kernel counted", all[3].Count)
	}
	for _, f := range all[1:] {
		if f.ID != all[0].ID {
			t.Errorf("%s has id %s, its incident is %s", f.Kind, f.ID, all[0].ID)
		}
	}
}

func TestASharedVerdictSaysWhenItIsIncomplete(t *testing.T) {
	lossy := &record.Loss{Detector: "threads", Cause: "ring_full", Count: 3}
	stackless := &record.Loss{Detector: "threads", Cause: "user_stack", Count: 1, DetailOnly: true}
	_, all := told(Config{}, stackless, leaves(1, 11, redis), clones(1.25, 11, 12, false), lossy, returns(2, 11, redis))
	if e := all[0].Evidence; !e.Complete || e.Lost["user_stack"] != 1 {
		t.Errorf("a lost stack makes a verdict incomplete, or is not told: %+v", e)
	}
	if e := all[1].Evidence; e.Complete || e.Lost["ring_full"] != 3 {
		t.Errorf("lost records are not told: %+v", e)
	}
}
