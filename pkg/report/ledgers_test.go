// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"strings"
	"testing"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

func ledgerOf(at record.Time, dev uint64, sites ...record.RefSite) *record.RefLedger {
	return &record.RefLedger{
		Time: at, Dev: dev, Generation: dev, Netns: record.NetnsID{Cookie: 1, Inode: 4026531840}, Name: fmt.Sprintf("veth%d", dev),
		Before: 3, Settled: true, Sites: sites,
	}
}

func told(t *testing.T, l *Ledgers) string {
	t.Helper()
	known := new(finding.Knowledge)
	known.Observe(&record.Setup{RefcountBase: 1, RefcountBaseKnown: true})
	var b strings.Builder
	if err := l.Write(&b, known); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestAReportBeginsWithTheLastLedgers(t *testing.T) {
	var l Ledgers
	if got := told(t, &l); got != "" {
		t.Errorf("of no ledger it tells %q", got)
	}
	hold := func(family string, put bool, hits uint64) record.RefSite {
		return record.RefSite{Place: family, Family: family, Put: put, Hits: hits}
	}
	l.Observe(ledgerOf(1, 1, hold("dst", false, 9)))
	l.Observe(ledgerOf(2, 1, hold("dst", false, 9), hold("dst", true, 9), hold("lookup", false, 1)))
	l.Observe(&record.DevFree{Time: 3, Dev: 1})
	l.Observe(ledgerOf(4, 2, hold("neighbour", false, 2), hold("AF_LLC socket", true, 1)))
	const want = `ledger    veth2 of netns 4026531840: 2 from before, +2 a neighbour, -1 AF_LLC socket (2 taken, 1 dropped)
ledger    veth1 of netns 4026531840, freed: at last 2 from before, +1 whoever looked it up by name or number (10 taken, 9 dropped)
`
	if got := told(t, &l); got != want {
		t.Errorf("ledgers\n%s\nwant\n%s", got, want)
	}
	for dev := range uint64(30) {
		l.Observe(ledgerOf(5, 10+dev))
	}
	if got := told(t, &l); strings.Count(got, "\n") != ledgersTold+1 || !strings.HasSuffix(got, "ledger    and 22 more devices\n") {
		t.Errorf("of 32 devices it tells\n%s", got)
	}
}

func TestAMailHasAStackForEachTrace(t *testing.T) {
	m := new(Mail)
	f := &finding.Finding{
		ID: "refs-1", Class: finding.Refs, Kind: "holder", State: finding.Opened, Summary: "veth1 is held by module refleak: 1 reference left",
		Facts: []finding.Fact{{Label: "+2", Text: "refleak_hold_a+0x19 [refleak] < refleak_take (sh, pid 9)"}, {Label: "balance", Text: "2 taken, 1 dropped"}},
		Traces: []finding.Trace{
			{Count: 2, Place: "refleak_hold_a+0x19 [refleak]", Stack: []string{"refleak_hold_a+0x1a/0x30 [refleak]", "vfs_write+0xf8/0x450"}, PID: 9, Comm: "sh"},
			{Count: -1, Place: "refleak_put+0x1d [refleak]"},
		},
	}
	if err := m.Write(f); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := m.Finish(&b, Recorded{}); err != nil {
		t.Fatal(err)
	}
	const want = `
   2 taken at refleak_hold_a+0x19 [refleak], by sh (pid 9)

 Call Trace:
  refleak_hold_a+0x1a/0x30 [refleak]
  vfs_write+0xf8/0x450

   1 dropped at refleak_put+0x1d [refleak]
`
	got := b.String()
	if !strings.Contains(got, want) || strings.Contains(got, "<") || !strings.Contains(got, "   balance    2 taken, 1 dropped\n") {
		t.Errorf("mail\n%s\nwant in it\n%s", got, want)
	}
}
