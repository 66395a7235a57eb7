// SPDX-License-Identifier: Apache-2.0

package refs

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

const inet = 2

func neighbour(t float64, dev, object uint64, since float64) record.Record {
	return &record.Holder{
		Time: at(t), Dev: dev, Object: object, Since: uint64(at(since)), Family: record.HolderNeighbour,
		Thread:        record.Thread{TGID: 7, TID: 7, Comm: "curl"},
		AddressFamily: inet, Address: [16]byte{10, 9, 0, 77}, ObjectRefs: 1, ObjectRefsKnown: true,
	}
}

// scan is the end of a scan that found so many neighbours of veth1.
func scan(t float64, neighbours int) record.Record {
	s := &record.HolderScan{Time: at(t), Started: uint64(at(t - 0.05))}
	if neighbours > 0 {
		s.Counts = []record.HolderCount{{Dev: 1, Family: record.HolderNeighbour, Count: neighbours}}
	}
	return s
}

func freed(t float64) record.Record {
	return &record.DevFree{Time: at(t), Dev: 1, Since: uint64(at(1)), Netns: host, Name: "veth1"}
}

// balance is what a finding says of how the references are explained.
func balance(f *finding.Finding) string {
	if f.Details["explained"] == nil {
		return ""
	}
	return fmt.Sprintf(" explained=%v unexplained=%v", f.Details["explained"], f.Details["unexplained"])
}

// One in 64 objects is followed: what the others would explain is not known, and must
// not be called unexplained. Those that are followed are named as always.
func TestSampledHoldersExplainNothing(t *testing.T) {
	known := new(finding.Knowledge)
	known.Observe(&record.Setup{RefcountBase: 1, RefcountBaseKnown: true, ScansHolders: true, HoldersOneIn: 64})
	d := New(known)
	var got []*finding.Finding
	for _, rec := range []record.Record{wait(2, 1, "veth1", 9), neighbour(2.1, 1, 50, 1.5), scan(2.1, 1)} {
		d.Observe(rec, func(f *finding.Finding) { got = append(got, f) })
	}
	if len(got) != 2 {
		t.Fatalf("%d findings, want the wait and its holder", len(got))
	}
	for _, f := range got {
		if f.Evidence.Sampled != "1/64" {
			t.Errorf("%s is sampled %q", f.Kind, f.Evidence.Sampled)
		}
	}
	waiting := got[0]
	for _, key := range []string{"explained", "unexplained", "holders"} {
		if v, ok := waiting.Details[key]; ok {
			t.Errorf("details.%s is %v", key, v)
		}
	}
	if waiting.Count != 8 || waiting.Evidence.Complete {
		t.Errorf("count %d, complete %v; the kernel's count is exact, the holders are not all", waiting.Count, waiting.Evidence.Complete)
	}
	if !got[1].Evidence.Complete {
		t.Error("a holder that is named is one")
	}
}

func TestHolders(t *testing.T) {
	tests := []struct {
		name    string
		records []record.Record
		want    []string
	}{
		{
			"a wait and what holds the device are told together",
			[]record.Record{wait(2, 1, "veth1", 2), neighbour(2.1, 1, 50, 1.5), scan(2.1, 1)},
			[]string{"opened waiting explained=1 unexplained=0", "opened holder"},
		},
		{
			"what no object explains is a number",
			[]record.Record{wait(2, 1, "veth1", 4), neighbour(2.1, 1, 50, 1.5), scan(2.1, 1)},
			[]string{"opened waiting explained=1 unexplained=2", "opened holder"},
		},
		{
			"more objects than references are told as such",
			[]record.Record{wait(2, 1, "veth1", 2), neighbour(2.1, 1, 50, 1.5), neighbour(2.1, 1, 60, 1.6), scan(2.1, 2)},
			[]string{"opened waiting explained=2 unexplained=-1", "opened holder", "opened holder"},
		},
		{
			"a holder that lets go is closed, and the balance told anew",
			[]record.Record{
				wait(2, 1, "veth1", 3), neighbour(2.1, 1, 50, 1.5), scan(2.1, 1),
				wait(12, 1, "veth1", 2), scan(12.1, 0), scan(22.1, 0),
			},
			[]string{
				"opened waiting explained=1 unexplained=1", "opened holder",
				"updated waiting explained=0 unexplained=1", "closed holder",
			},
		},
		{
			"one that a single scan passed over is not closed",
			[]record.Record{
				wait(2, 1, "veth1", 2), neighbour(2.1, 1, 50, 1.5), scan(2.1, 1),
				scan(12.1, 0), neighbour(22.1, 1, 50, 1.5), scan(22.1, 1), scan(32.1, 0),
			},
			[]string{
				"opened waiting explained=1 unexplained=0", "opened holder",
				"updated waiting explained=0 unexplained=1",
				"updated waiting explained=1 unexplained=0",
				"updated waiting explained=0 unexplained=1",
			},
		},
		{
			"a scan that began before the device waited says nothing of it",
			[]record.Record{wait(2.08, 1, "veth1", 2), scan(2.1, 0), neighbour(2.4, 1, 50, 1.5), scan(2.4, 1)},
			[]string{"opened waiting explained=1 unexplained=0", "opened holder"},
		},
		{
			"another device at the same address is another wait",
			[]record.Record{
				wait(2, 1, "veth1", 2), scan(2.1, 0),
				&record.DevWait{Time: at(9), Dev: 1, Since: uint64(at(8)), Netns: host, Refcount: 2, RefcountKnown: true, Name: "eth0"},
				scan(9.1, 0),
			},
			[]string{
				"opened waiting explained=0 unexplained=1", "closed released",
				"opened waiting explained=0 unexplained=1",
			},
		},
		{
			"nothing new is not told again",
			[]record.Record{
				wait(2, 1, "veth1", 2), neighbour(2.1, 1, 50, 1.5), scan(2.1, 1),
				wait(12, 1, "veth1", 2), neighbour(12.1, 1, 50, 1.5), scan(12.1, 1),
			},
			[]string{"opened waiting explained=1 unexplained=0", "opened holder"},
		},
		{
			"an address used again is another object",
			[]record.Record{
				wait(2, 1, "veth1", 2), neighbour(2.1, 1, 50, 1.5), scan(2.1, 1),
				neighbour(12.1, 1, 50, 9), scan(12.1, 1), neighbour(22.1, 1, 50, 9), scan(22.1, 1),
			},
			[]string{
				"opened waiting explained=1 unexplained=0", "opened holder",
				"opened holder", "closed holder",
			},
		},
		{
			"the end of the device ends its holders",
			[]record.Record{wait(2, 1, "veth1", 2), neighbour(2.1, 1, 50, 1.5), scan(2.1, 1), freed(3)},
			[]string{
				"opened waiting explained=1 unexplained=0", "opened holder",
				"closed holder", "closed released",
			},
		},
		{
			"freed before the scan: the wait was there all the same",
			[]record.Record{wait(2, 1, "veth1", 2), freed(2.05), neighbour(2.1, 1, 50, 1.5), scan(2.1, 1)},
			[]string{"opened waiting", "closed released"},
		},
		{
			"the scan did not come: the wait is told without it",
			[]record.Record{wait(2, 1, "veth1", 2), &record.Tick{Time: at(3.6)}},
			[]string{"opened waiting"},
		},
		{
			"holders of another device are not this one's",
			[]record.Record{wait(2, 1, "veth1", 2), neighbour(2.1, 9, 50, 1.5), scan(2.1, 0)},
			[]string{"opened waiting explained=0 unexplained=1"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			known := new(finding.Knowledge)
			d := New(known)
			setup := &record.Setup{RefcountBase: 1, RefcountBaseKnown: true, SeesFree: true, ScansHolders: true}
			known.Observe(setup)
			var got []string
			for _, r := range test.records {
				d.Observe(r, func(f *finding.Finding) {
					got = append(got, fmt.Sprintf("%s %s%s", f.State, f.Kind, balance(f)))
				})
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestManyHoldersAreCountedButNotAllTold(t *testing.T) {
	known := new(finding.Knowledge)
	d := New(known)
	known.Observe(&record.Setup{RefcountBase: 1, RefcountBaseKnown: true, ScansHolders: true})
	const n = 3 * holdersTold
	records := []record.Record{wait(2, 1, "veth1", n+1)}
	for i := range n {
		records = append(records, neighbour(2.1, 1, uint64(1000+i), 1.5))
	}
	kinds := map[string]int{}
	var explained any
	for _, r := range append(records, scan(2.2, n)) {
		d.Observe(r, func(f *finding.Finding) {
			kinds[f.Kind]++
			if f.Kind == KindWaiting {
				explained = f.Details["explained"]
			}
		})
	}
	if kinds[KindHolder] != holdersTold || explained != int64(n) {
		t.Errorf("%d holders told, %v explained; want %d and %d", kinds[KindHolder], explained, holdersTold, n)
	}
}

func TestHolderIsNamed(t *testing.T) {
	for _, test := range []struct {
		holder  record.Holder
		summary string
	}{
		{
			record.Holder{Family: record.HolderNeighbour, AddressFamily: inet, Address: [16]byte{10, 9, 0, 77}},
			"veth1 of netns 100 is held by a neighbour 10.9.0.77, made 1.5s before while curl (pid 7) ran",
		},
		{
			record.Holder{Family: record.HolderNexthop, AddressFamily: 10, Address: [16]byte{0xfe, 0x80, 15: 1}},
			"veth1 of netns 100 is held by the nexthop of a route fe80::1, made 1.5s before while curl (pid 7) ran",
		},
		{
			record.Holder{Family: record.HolderNexthop},
			"veth1 of netns 100 is held by the nexthop of a route, made 1.5s before while curl (pid 7) ran",
		},
		{
			record.Holder{Family: record.HolderQdisc, Text: "fq", Handle: 0x80010000},
			"veth1 of netns 100 is held by a qdisc fq 8001:, made 1.5s before by curl (pid 7)",
		},
		{
			record.Holder{Family: record.HolderAdjacency, Text: "br0"},
			"veth1 of netns 100 is held by an adjacent device br0, made 1.5s before by curl (pid 7)",
		},
		{
			record.Holder{Family: 99},
			"veth1 of netns 100 is held by an object of family 99, made 1.5s before while curl (pid 7) ran",
		},
	} {
		h := test.holder
		h.Dev, h.Object, h.Since = 1, 50, uint64(at(0.5))
		h.Thread = record.Thread{TGID: 7, TID: 7, Comm: "curl"}
		known := new(finding.Knowledge)
		d := New(known)
		known.Observe(&record.Setup{RefcountBase: 1, RefcountBaseKnown: true, ScansHolders: true})
		got := ""
		for _, r := range []record.Record{wait(1.9, 1, "veth1", 2), &h, scan(2, 0)} {
			d.Observe(r, func(f *finding.Finding) {
				if f.Kind == KindHolder {
					got = f.Summary
				}
			})
		}
		if got != test.summary {
			t.Errorf("got %q\nwant %q", got, test.summary)
		}
	}
}

// Who was interrupted did not make the neighbour.
func TestHolderMadeInASoftInterruptBlamesNobody(t *testing.T) {
	known := new(finding.Knowledge)
	d := New(known)
	known.Observe(&record.Setup{RefcountBase: 1, RefcountBaseKnown: true, ScansHolders: true})
	for addr, name := range map[uint64]string{1: "___neigh_create+0x1/0x2", 2: "handle_softirqs+0x1/0x2"} {
		known.Observe(&record.Symbol{Addr: addr, Text: name})
	}
	h := neighbour(2.1, 1, 50, 1.5).(*record.Holder)
	h.Stacks.Kernel = []uint64{1, 2}
	var got *finding.Finding
	for _, r := range []record.Record{wait(2, 1, "veth1", 2), h, scan(2.2, 1)} {
		d.Observe(r, func(f *finding.Finding) {
			if f.Kind == KindHolder {
				got = f
			}
		})
	}
	if got == nil || got.Process != nil || got.Details["context"] != "softirq" {
		t.Errorf("told %+v, want no process, and context softirq", got)
	}
}
