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

var llcHold = record.Thread{TGID: 4121, TID: 4121, Comm: "llc_hold"}

// site is one that was hit so often, each time by this thread and this way.
func site(family string, put bool, hits uint64, stack ...uint64) record.RefSite {
	s := record.RefSite{Place: family + "+0x1", Family: family, Put: put, Hits: hits}
	s.Traces = []record.RefTrace{{
		Family: family, Count: hits, First: uint64(at(1.5)), Last: uint64(at(1.8)),
		FirstThread: llcHold, LastThread: llcHold, Kernel: stack,
	}}
	return s
}

// getter is a site of which the callers count.
func getter(hits uint64, callers ...record.RefTrace) record.RefSite {
	return record.RefSite{Place: "dev_get_by_index+0x1", Family: record.FamilyLookup, Getter: true, Hits: hits, Traces: callers}
}

func caller(family string, count uint64) record.RefTrace {
	return record.RefTrace{Family: family, Count: count, First: 1, FirstThread: llcHold}
}

// statementOf makes a ledger whose sums fit its sites.
func statementOf(t float64, before, count int64, sites ...record.RefSite) *record.RefLedger {
	l := &record.RefLedger{
		Time: at(t), Counter: 77, Generation: 5, Dev: 1, Netns: host, Name: "veth1", Ifindex: 7,
		Before: before, Settled: true, Count: count, Counted: true, Sites: sites,
	}
	for _, s := range sites {
		if s.Put {
			l.Balance -= int64(s.Hits)
		} else {
			l.Balance += int64(s.Hits)
		}
	}
	return l
}

func TestPurposes(t *testing.T) {
	for _, test := range []struct {
		name  string
		sites []record.RefSite
		want  []string
	}{
		{
			"what was dropped is of the same purpose as what was taken elsewhere",
			[]record.RefSite{site("dst", false, 500), site("dst", true, 499)},
			[]string{"dst 500-499"},
		},
		{
			"a reference got from a getter is its caller's",
			[]record.RefSite{getter(3, caller("nexthop", 2), caller("AF_LLC socket", 1)), site("nexthop", true, 2)},
			[]string{"AF_LLC socket 1-0", "nexthop 2-2"},
		},
		{
			"callers that were not kept are whoever",
			[]record.RefSite{getter(5, caller("nexthop", 2))},
			[]string{"lookup 3-0", "nexthop 2-0"},
		},
		{
			"traces that came after the count was read do not count",
			[]record.RefSite{getter(2, caller("nexthop", 3))},
			[]string{"nexthop 2-0"},
		},
		{"nothing was hit", nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, a := range purposes(&record.RefLedger{Sites: test.sites}) {
				got = append(got, fmt.Sprintf("%s %d-%d", a.family, a.holds, a.puts))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("purposes (-want +got):\n%s", diff)
			}
		})
	}
}

// tell feeds records to a detector on a kernel where a device has one reference of
// its own.
func tell(records ...record.Record) []*finding.Finding {
	known := new(finding.Knowledge)
	known.Observe(&record.Setup{RefcountBase: 1, RefcountBaseKnown: true, SeesFree: true, ScansHolders: true})
	for addr, name := range map[uint64]string{1: "llc_ui_bind+0x13d/0x300 [llc2]", 2: "__sys_bind+0xf0/0x110", 9: "handle_softirqs+0x1/0x2"} {
		known.Observe(&record.Symbol{Addr: addr, Text: name})
	}
	d := New(known)
	var all []*finding.Finding
	for _, r := range records {
		d.Observe(r, func(f *finding.Finding) { all = append(all, f) })
	}
	return all
}

func summaries(all []*finding.Finding) []string {
	var out []string
	for _, f := range all {
		out = append(out, fmt.Sprintf("%s %s %d%s", f.State, f.Kind, f.Count, balance(f)))
	}
	return out
}

func TestLedger(t *testing.T) {
	llc := site("AF_LLC socket", false, 1, 1, 2)
	for _, test := range []struct {
		name    string
		records []record.Record
		want    []string
	}{
		{
			"a socket holds it, and no object was followed",
			[]record.Record{wait(2, 1, "veth1", 2), statementOf(2.1, 1, 2, llc), scan(2.2, 0)},
			[]string{"opened waiting 1 explained=1 unexplained=0", "opened holder 1"},
		},
		{
			"an object that was followed is told instead of its family",
			[]record.Record{
				wait(2, 1, "veth1", 3), statementOf(2.1, 1, 3, llc, site("neighbour", false, 1)),
				neighbour(2.1, 1, 50, 1.5), scan(2.2, 1),
			},
			[]string{"opened waiting 2 explained=2 unexplained=0", "opened holder 1", "opened holder 1"},
		},
		{
			"of more references than objects the rest is told",
			[]record.Record{
				wait(2, 1, "veth1", 4), statementOf(2.1, 1, 4, site("neighbour", false, 3)),
				neighbour(2.1, 1, 50, 1.5), scan(2.2, 1),
			},
			[]string{"opened waiting 3 explained=3 unexplained=0", "opened holder 1", "opened holder 2"},
		},
		{
			"what it had before tracing is not explained, and said",
			[]record.Record{wait(2, 1, "veth1", 3), statementOf(2.1, 2, 3, llc), scan(2.2, 0)},
			[]string{"opened waiting 2 explained=1 unexplained=0", "opened holder 1"},
		},
		{
			"the kernel's own count differs: never silently",
			[]record.Record{wait(2, 1, "veth1", 4), statementOf(2.1, 1, 4, llc), scan(2.2, 0)},
			[]string{"opened waiting 3 explained=1 unexplained=2", "opened holder 1"},
		},
		{
			"it lets go, and the wait ends",
			[]record.Record{
				wait(2, 1, "veth1", 3), statementOf(2.1, 1, 3, llc, site("bond", false, 1)), scan(2.2, 0),
				wait(12, 1, "veth1", 2), statementOf(12.1, 1, 2, llc, site("bond", false, 1), site("bond", true, 1)), scan(12.2, 0),
				freed(13),
			},
			[]string{
				"opened waiting 2 explained=2 unexplained=0", "opened holder 1", "opened holder 1",
				"updated waiting 1 explained=1 unexplained=0", "closed holder 0",
				"closed holder 0", "closed released 0",
			},
		},
		{
			"one put too many",
			[]record.Record{wait(2, 1, "veth1", 0), statementOf(2.1, 1, 0, site("bond", false, 2), site("bond", true, 3)), scan(2.2, 0)},
			[]string{"opened waiting -1 explained=-1 unexplained=0", "opened over-put 1"},
		},
		{
			"one put too many, and another device's holders are not asked",
			[]record.Record{wait(2, 1, "veth1", 0), scan(2.2, 0), wait(3, 1, "veth1", 1), scan(13, 0)},
			[]string{"opened waiting -1 explained=0 unexplained=-1", "opened over-put 1", "closed over-put 0"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, summaries(tell(test.records...))); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLedgerNamesWhoTookItAndWhatReleasesIt(t *testing.T) {
	for _, test := range []struct {
		name    string
		state   *record.ThreadState
		want    string
		release string
	}{
		{
			"its socket is still open",
			&record.ThreadState{Time: at(2.1), Thread: llcHold, Alive: true, Sockets: []record.OpenSocket{
				{FD: 1, Inode: 8, Protocol: "UNIX"}, {FD: 3, Inode: 9, Protocol: "LLC"},
			}},
			"veth1 of netns 100 is held by AF_LLC socket: 1 reference left, taken 700ms before by llc_hold (pid 4121)",
			"socket of llc_hold (pid 4121), fd 3 (LLC): closing it frees the device",
		},
		{
			"it lives, and has no such socket",
			&record.ThreadState{Time: at(2.1), Thread: llcHold, Alive: true},
			"veth1 of netns 100 is held by AF_LLC socket: 1 reference left, taken 700ms before by llc_hold (pid 4121)",
			"llc_hold (pid 4121) is alive",
		},
		{
			"it has exited",
			&record.ThreadState{Time: at(2.1), Thread: llcHold},
			"veth1 of netns 100 is held by AF_LLC socket: 1 reference left, taken 700ms before by llc_hold (pid 4121)",
			"llc_hold (pid 4121) has exited: nothing that it still had open holds the device",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			all := tell(wait(2, 1, "veth1", 2), test.state, statementOf(2.1, 1, 2, site("AF_LLC socket", false, 1, 1, 2)), scan(2.2, 0))
			f := all[len(all)-1]
			if f.Summary != test.want {
				t.Errorf("got %q\nwant %q", f.Summary, test.want)
			}
			var facts []string
			for _, fact := range f.Facts {
				facts = append(facts, fact.Text)
			}
			if !strings.Contains(strings.Join(facts, "\n"), test.release) {
				t.Errorf("told %q, want %q", facts, test.release)
			}
			if len(f.Stack) != 2 || len(f.Traces) != 1 || f.Traces[0].Count != 1 {
				t.Errorf("stack %v, traces %+v", f.Stack, f.Traces)
			}
		})
	}
}

// Who was interrupted took nothing.
func TestLedgerBlamesNobodyForASoftInterrupt(t *testing.T) {
	all := tell(wait(2, 1, "veth1", 2), statementOf(2.1, 1, 2, site("linkwatch", false, 1, 1, 9)), scan(2.2, 0))
	f := all[len(all)-1]
	if f.Process != nil || f.Details["context"] != "softirq" {
		t.Errorf("blamed %+v in context %v", f.Process, f.Details["context"])
	}
}

func TestStatement(t *testing.T) {
	known := new(finding.Knowledge)
	known.Observe(&record.Setup{RefcountBase: 1, RefcountBaseKnown: true})
	l := statementOf(3, 6, 8, site("dst", false, 5), site("dst", true, 3), site("qdisc", false, 2), site("qdisc", true, 2))
	s := NewStatement(known, l)
	got := fmt.Sprintf("%s %d=%d before=%d taken=%d dropped=%d balance=%d unexplained=%d families=%d",
		s.Device.Name, *s.UsageCount, *s.References, *s.Before, s.Taken, s.Dropped, s.Balance, *s.Unexplained, len(s.Families))
	if want := "veth1 8=7 before=5 taken=7 dropped=5 balance=2 unexplained=0 families=2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	l.Counted, l.Settled = false, false
	if s := NewStatement(known, l); s.UsageCount != nil || s.Unexplained != nil || s.Before != nil {
		t.Errorf("tells numbers that are not known: %+v", s)
	}
}
