// SPDX-License-Identifier: Apache-2.0

package refs

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// A netns-trace was at work when the references were taken: an object that is found in
// memory has the call trace of who took it, and so has a reference that no object has.
func TestASearchIsJoinedWithTheLedger(t *testing.T) {
	socket := heldObject("socket", "llc_sock.dev", true)
	socket.Sockets = []record.Socket{llc(158)}
	taken := site("AF_LLC socket", false, 1, 0x10)
	for _, tc := range []struct {
		name    string
		records []record.Record
		want    []string // kind, places of call traces, and what the ledger has more of
	}{
		{
			"the object found is what the ledger has",
			[]record.Record{statementOf(5, 2, 2, taken), socket, searchOf(2)},
			[]string{"held [] map[AF_LLC socket:1] <nil>", "holder [+1 AF_LLC socket+0x1 4121] <nil> <nil>"},
		},
		{
			"what code leaked is no object, and is in the ledger all the same",
			[]record.Record{statementOf(5, 2, 5, taken, site("refleak_hold", false, 2, 0x20)), socket, searchOf(4)},
			[]string{
				"held [] map[AF_LLC socket:1 refleak_hold:2] map[refleak_hold:2]",
				"holder [+1 AF_LLC socket+0x1 4121] <nil> <nil>",
				"leaked [+2 refleak_hold+0x1 4121] <nil> map[refleak_hold:2]",
			},
		},
		{
			"an object of before the ledger has no call trace",
			[]record.Record{statementOf(5, 2, 2, site("dst", false, 3), site("dst", true, 3)), socket, searchOf(2)},
			[]string{"held [] map[] <nil>", "holder [] <nil> <nil>"},
		},
		{
			"what a device has of itself is nobody's",
			[]record.Record{statementOf(5, 0, 2, site("self(initial)", false, 1), taken), socket, searchOf(2)},
			[]string{"held [] map[AF_LLC socket:1] <nil>", "holder [+1 AF_LLC socket+0x1 4121] <nil> <nil>"},
		},
		{
			"another device's ledger",
			[]record.Record{&record.RefLedger{Dev: 2, Sites: []record.RefSite{taken}}, socket, searchOf(2)},
			[]string{"held [] <nil> <nil>", "holder [] <nil> <nil>"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, f := range run(tc.records...) {
				got = append(got, wordJoined(f))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func wordJoined(f *finding.Finding) string {
	var traces []string
	for _, t := range f.Traces {
		traces = append(traces, strings.Join([]string{fmt.Sprintf("%+d", t.Count), t.Place, fmt.Sprintf("%d", t.PID)}, " "))
	}
	return fmt.Sprintf("%s %v %v %v", f.Kind, traces, f.Details["ledger"], f.Details["ledger_without_object"])
}

// The kernel was built to track references itself: no netns-trace need have been at work to
// know by which call trace what code leaked was taken.
func TestASearchIsJoinedWithTheKernelsTracker(t *testing.T) {
	leaked := &record.RefTracker{Ledger: record.RefLedger{Dev: 1, Sites: []record.RefSite{{
		Place: "refleak_hold+0x1", Family: "refleak_hold", Hits: 2,
		Traces: []record.RefTrace{{Family: "refleak_hold", Count: 2, Kernel: []uint64{0x20}}},
	}}}}
	for name, findings := range map[string]func() []*finding.Finding{
		"asked":          func() []*finding.Finding { return run(leaked, searchOf(3)) },
		"while it waits": func() []*finding.Finding { _, all := searching(hold7(2), leaked, searchOf(3)); return all },
	} {
		var found bool
		for _, f := range findings() {
			if f.Kind != KindLeaked {
				continue
			}
			found = true
			const want = "; the kernel's tracker has refleak_hold (2)"
			if !strings.HasSuffix(f.Summary, want) || len(f.Traces) != 1 || f.Traces[0].Count != 2 || f.Traces[0].Place != "refleak_hold+0x1" ||
				!strings.Contains(f.Evidence.How, "CONFIG_NET_DEV_REFCNT_TRACKER") {
				t.Errorf("%s: %q, traces %+v, %s", name, f.Summary, f.Traces, f.Evidence.How)
			}
		}
		if !found {
			t.Errorf("%s: nothing was found to be leaked", name)
		}
	}
	// What was counted is more than what was tracked: it says when, and who.
	counted := statementOf(5, 0, 2, site("refleak_hold", false, 2, 0x20))
	for _, f := range run(counted, leaked, searchOf(3)) {
		if f.Kind == KindLeaked && strings.Contains(f.Summary, "tracker") {
			t.Errorf("the ledger of a netns-trace gave way to the kernel's tracker: %q", f.Summary)
		}
	}
}

// What the ledger has, nobody has to guess: the maps of that netns-trace have the
// device's address too, and are no holders.
func TestWhatTheLedgerHasIsNotGuessed(t *testing.T) {
	unknown := heldObject("", "+0x18", false)
	unknown.Means = record.PointerUnknown
	for count, want := range map[uint64]bool{3: false, 2: true} {
		all := run(unknown, statementOf(5, 2, 5, site("refleak_hold", false, count, 0x20)), searchOf(4))
		leaked := all[len(all)-1]
		if got := strings.Contains(leaked.Summary, "unknown kind"); leaked.Kind != KindLeaked || got != want {
			t.Errorf("the ledger has %d of 3: %s", count, leaked.Summary)
		}
	}
}

// A verdict says on what it rests.
func TestAJoinedVerdictNamesTheLedger(t *testing.T) {
	for _, f := range run(statementOf(5, 2, 5, site("refleak_hold", false, 3, 0x20)), searchOf(4)) {
		if !strings.Contains(f.Evidence.How, "search of the kernel's memory") || !strings.Contains(f.Evidence.How, "ledger of a netns-trace at work") {
			t.Errorf("%s: how %q", f.Kind, f.Evidence.How)
		}
	}
}

// Each name is one of the ledger's, which goes by the table of functions.
func TestLedgerNamesAreFamiliesOfFunctions(t *testing.T) {
	table, err := os.ReadFile("../refsite/families.txt")
	if err != nil {
		t.Fatal(err)
	}
	for family, name := range ledgerNames {
		if _, known := foundFamilies[family]; !known || !strings.Contains(string(table), " "+name+"\n") {
			t.Errorf("%s: the ledger has no family %q", family, name)
		}
	}
}
