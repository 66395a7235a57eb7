// SPDX-License-Identifier: Apache-2.0

package dst

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

func at(seconds float64) record.Time { return record.Time(seconds * float64(time.Second)) }

// ops is the IPv6 dst_ops of the namespace of this number.
func ops(number uint32) record.DstOps {
	return record.DstOps{
		Addr: uint64(number) << 12, Kind: record.DstOpsIPv6, Family: 10,
		Netns: record.NetnsID{Inode: number, Cookie: uint64(number)},
	}
}

// look is a look at the counter of ops(number).
func look(seconds float64, number uint32, entries int64, charged, credited uint64, change ...func(*record.DstCounter)) record.Record {
	r := &record.DstCounter{
		Time: at(seconds), Ops: ops(number), Birth: number, Entries: entries, Charged: charged, Credited: credited,
		Counter: uint64(number), Threshold: 1024, HasGC: true,
	}
	for _, c := range change {
		c(r)
	}
	return r
}

// rest are looks that find the same, so many seconds long.
func rest(from float64, n int, number uint32, entries int64, charged, credited uint64, change ...func(*record.DstCounter)) []record.Record {
	var out []record.Record
	for i := range n {
		out = append(out, look(from+float64(i), number, entries, charged, credited, change...))
	}
	return out
}

func strangers(n uint64) func(*record.DstCounter) {
	return func(r *record.DstCounter) { r.Strangers = n }
}

func counterAt(addr uint64) func(*record.DstCounter) {
	return func(r *record.DstCounter) { r.Counter = addr }
}

func threshold(n uint32) func(*record.DstCounter) {
	return func(r *record.DstCounter) { r.Threshold = n }
}

func missed(n uint64) func(*record.DstCounter) { return func(r *record.DstCounter) { r.Missed = n } }
func noGC(r *record.DstCounter)                { r.HasGC = false }
func foreign(r *record.DstCounter)             { r.Ops.Kind = record.DstOpsOther }
func gone(r *record.DstCounter)                { r.Gone = true }
func unread(r *record.DstCounter)              { r.Unread, r.Entries = true, 7 }
func reborn(r *record.DstCounter)              { r.Birth = 77 }

func failed(seconds float64, count uint64, change ...func(*record.DstFailure)) record.Record {
	r := &record.DstFailure{
		Time: at(seconds), Ops: ops(1), Count: count, Thread: record.Thread{TGID: 7, TID: 7, Start: 1, Comm: "curl"},
	}
	for _, c := range change {
		c(r)
	}
	return r
}

func crossed(seconds float64, count uint64, cause record.DstCrossingCause, final bool) record.Record {
	return &record.DstCrossing{Time: at(seconds), From: ops(1), To: ops(2), Cause: cause, Count: count, Final: final}
}

func together(parts ...[]record.Record) []record.Record {
	var out []record.Record
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func TestDetector(t *testing.T) {
	counted := func(r *record.DstFailure) { r.Thread, r.Polled = record.Thread{}, true }
	last := func(r *record.DstFailure) { r.Thread, r.Polled, r.Final = record.Thread{}, true, true }
	refusing := func(entries int64, known bool, limit int32, limitKnown bool) func(*record.DstFailure) {
		return func(r *record.DstFailure) {
			r.MayRefuse, r.Threshold, r.Limit, r.LimitKnown = true, 1024, limit, limitKnown
			r.Entries, r.EntriesKnown = entries, known
		}
	}
	tests := []struct {
		name    string
		records []record.Record
		want    []string // state, kind, cause, namespace, count
	}{
		{
			"a failure is told at once, further ones after ten seconds, and at the end",
			[]record.Record{failed(1, 1), failed(2, 2), failed(2, 3), failed(12, 40), failed(13, 41, last)},
			[]string{"opened alloc-failure no memory 1 1", "updated alloc-failure no memory 1 40", "updated alloc-failure no memory 1 41"},
		},
		{
			"the records of the failures were lost, their count was not",
			[]record.Record{failed(3, 12, last), failed(3, 12, last)},
			[]string{"opened alloc-failure no memory 1 12"},
		},
		{
			"the count comes before the record that has the process",
			[]record.Record{failed(1, 1, counted), failed(1.1, 1)},
			[]string{"opened alloc-failure no memory 1 1"},
		},
		{
			"the count is not kept back for a record that was lost",
			[]record.Record{failed(1, 1, counted), failed(2, 3, counted)},
			[]string{"opened alloc-failure no memory 1 3"},
		},
		{
			"a collector that could not help has refused the entry",
			[]record.Record{failed(1, 1, refusing(4097, true, 4096, true))},
			[]string{"opened alloc-failure over threshold 1 1"},
		},
		{
			"over gc_thresh the collector is asked, but it refuses over max_size only",
			[]record.Record{failed(1, 1, refusing(4096, true, 4096, true))},
			[]string{"opened alloc-failure no memory 1 1"},
		},
		{
			"below gc_thresh the collector is not asked, however small max_size is",
			[]record.Record{failed(1, 1, refusing(20, true, 10, true))},
			[]string{"opened alloc-failure no memory 1 1"},
		},
		{
			"a collector may have refused, but the entries could not be counted",
			[]record.Record{failed(1, 1, refusing(0, false, 4096, true))},
			[]string{"opened alloc-failure unknown 1 1"},
		},
		{
			"a collector may have refused, and nobody knows over what",
			[]record.Record{failed(1, 1, refusing(4097, true, 0, false))},
			[]string{"opened alloc-failure unknown 1 1"},
		},
		{
			"the idle task of CPU 0 was interrupted, whose start is 0",
			[]record.Record{failed(1, 1, func(r *record.DstFailure) { r.Thread = record.Thread{Comm: "swapper/0"} })},
			[]string{"opened alloc-failure no memory 1 1"},
		},
		{
			"one crossed entry is enough",
			[]record.Record{crossed(1, 1, record.DstOtherOps, false), crossed(1, 1, record.DstOtherOps, false)},
			[]string{"opened counter-drift released on another ops 1 1"},
		},
		{
			"fifty are one incident",
			[]record.Record{
				crossed(1, 1, record.DstOtherOps, false), crossed(2, 50, record.DstOtherOps, false), crossed(3, 50, record.DstOtherOps, true),
			},
			[]string{"opened counter-drift released on another ops 1 1", "updated counter-drift released on another ops 1 50"},
		},
		{
			"each cause is an incident of its own",
			[]record.Record{crossed(1, 3, record.DstNetnsGone, false), crossed(1, 2, record.DstFlagsChanged, false)},
			[]string{"opened counter-drift namespace gone 1 3", "opened counter-drift flags changed 1 2"},
		},
		{
			"entries come and go, the counter follows",
			together(rest(0, 5, 1, 0, 0, 0), rest(5, 5, 1, 3, 3, 0), rest(10, 5, 1, 1, 4, 3)),
			nil,
		},
		{
			"three stray entries in a namespace that was empty at first sight",
			together(rest(0, 1, 1, 2, 2, 0), rest(1, 5, 1, 5, 2, 0)),
			[]string{"opened counter-drift unexplained 1 3"},
		},
		{
			"a counter that sinks, and then is right again",
			together(rest(0, 5, 1, 40, 0, 0), rest(5, 5, 1, 38, 0, 0), rest(10, 5, 1, 40, 0, 0)),
			[]string{"opened counter-drift unexplained 1 2", "closed counter-drift unexplained 1 0"},
		},
		{
			"it is told of again when it gets worse, and not while it stays",
			together(rest(0, 5, 1, 0, 0, 0), rest(5, 9, 1, 2, 0, 0), rest(14, 9, 1, 5, 0, 0)),
			[]string{"opened counter-drift unexplained 1 2", "updated counter-drift unexplained 1 5"},
		},
		{
			"a counter below nothing is wrong, wherever it began",
			rest(0, 6, 1, -3, 10, 13, strangers(3)),
			[]string{"opened counter-drift unexplained 1 3"},
		},
		{
			"read while busy: nothing rests, nothing is compared",
			[]record.Record{
				look(0, 1, 5, 5, 0), look(1, 1, 9, 8, 0), look(2, 1, 7, 9, 0), look(3, 1, 3, 9, 5), look(4, 1, 3, 12, 9),
			},
			nil,
		},
		{
			"the kernel's decrement comes a grace period before the entry's end",
			together(rest(0, 1, 1, 2, 2, 0), rest(1, 2, 1, 0, 2, 0), rest(3, 5, 1, 0, 2, 2)),
			nil,
		},
		{
			"entries of before tracing were on their way out at the first look",
			together(rest(0, 1, 1, 0, 0, 0), rest(1, 6, 1, 0, 0, 5, strangers(5))),
			nil,
		},
		{
			"the kernel skipped a hit, so that a ledger may lack one",
			together(rest(0, 5, 1, 4, 4, 0), rest(5, 6, 1, 5, 4, 0, missed(1))),
			nil,
		},
		{
			"the memory of a dead namespace is another's now",
			together(rest(0, 5, 1, 4, 4, 0), rest(5, 5, 1, 0, 1, 1, reborn)),
			nil,
		},
		{
			"the counter cannot be read",
			rest(0, 9, 1, 4, 0, 0, unread),
			nil,
		},
		{
			"a dst_ops of a module, which may have been unloaded",
			together(rest(0, 5, 1, 0, 0, 0, foreign), rest(5, 5, 1, 3, 0, 0, foreign)),
			nil,
		},
		{
			"two namespaces count in the same memory",
			[]record.Record{
				look(0, 1, 5, 5, 0), look(0, 2, 5, 0, 0, counterAt(1)),
				look(1, 1, 5, 5, 0), look(1, 2, 5, 0, 0, counterAt(1)), look(2, 1, 5, 5, 0), look(2, 2, 5, 0, 0, counterAt(1)),
			},
			[]string{"opened counter-drift shared counter 1 5"},
		},
		{
			"a dead namespace's memory serves another's counter, before its death was noticed",
			together(rest(0, 5, 1, 5, 5, 0), rest(5, 9, 2, 1, 1, 0, counterAt(1))),
			nil,
		},
		{
			"pressure at 80 % of the threshold, until it is below 60 %",
			[]record.Record{
				look(0, 1, 79, 79, 0, threshold(100)), look(1, 1, 80, 80, 0, threshold(100)),
				look(2, 1, 120, 120, 0, threshold(100)), look(3, 1, 60, 120, 60, threshold(100)), look(4, 1, 59, 120, 61, threshold(100)),
			},
			[]string{"opened pressure <nil> 1 80", "closed pressure <nil> 1 59"},
		},
		{
			"the namespace dies under pressure",
			[]record.Record{look(0, 1, 80, 80, 0, threshold(100)), look(1, 1, 0, 0, 0, gone)},
			[]string{"opened pressure <nil> 1 80", "closed pressure <nil> 1 80"},
		},
		{
			"a threshold without a collector has no effect",
			[]record.Record{look(0, 1, 500, 500, 0, threshold(100), noGC)},
			nil,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, findings(true, test.records)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// Where the kernel skips hits without telling, a ledger proves nothing; what was
// seen of an entry still does.
func TestWithKprobesOnlyWhatWasSeenIsTold(t *testing.T) {
	records := together(rest(0, 5, 1, 0, 0, 0), rest(5, 9, 1, 2, 0, 0), []record.Record{crossed(20, 1, record.DstOtherOps, false)})
	want := []string{"opened counter-drift released on another ops 1 1"}
	if diff := cmp.Diff(want, findings(false, records)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

func TestAnInterruptedProcessIsNotBlamed(t *testing.T) {
	known := new(finding.Knowledge)
	known.Observe(&record.Symbol{Addr: 1, Text: "dst_alloc+0x9/0x150"})
	known.Observe(&record.Symbol{Addr: 2, Text: "__do_softirq+0x1/0x2"})
	curl, idle := record.Thread{TGID: 7, TID: 7, Start: 1, Comm: "curl"}, record.Thread{Comm: "swapper/0"}
	for _, test := range []struct {
		stack  []uint64
		thread record.Thread
		want   string
	}{
		{[]uint64{1}, curl, "dst_alloc failed in netns 1 for curl (pid 7): ipv6, no memory, 1 so far; process"},
		{[]uint64{1, 2}, curl, "dst_alloc failed in netns 1: ipv6, no memory, 1 so far; softirq"},
		{[]uint64{1, 2}, idle, "dst_alloc failed in netns 1: ipv6, no memory, 1 so far; softirq"}, // which started at 0
	} {
		r := &record.DstFailure{
			Time: 1, Ops: ops(1), Count: 1, Thread: test.thread,
			Stacks: record.Stacks{Kernel: test.stack},
		}
		New(known).Observe(r, func(f *finding.Finding) {
			if got := fmt.Sprintf("%s; %s", f.Summary, f.Details["context"]); got != test.want {
				t.Errorf("stack %d: %s\nwant %s", test.stack, got, test.want)
			}
		})
	}
}

// findings runs records through a detector and abbreviates what comes out.
func findings(exact bool, records []record.Record) []string {
	known := new(finding.Knowledge)
	known.Observe(&record.Setup{DstExact: exact})
	d := New(known)
	var got []string
	for _, r := range records {
		d.Observe(r, func(f *finding.Finding) {
			got = append(got, fmt.Sprintf("%s %s %v %d %d", f.State, f.Kind, f.Details["cause"], f.Netns.Inode, f.Count))
		})
	}
	return got
}
