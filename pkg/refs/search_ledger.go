// SPDX-License-Identifier: Apache-2.0

package refs

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// ledgerNames are what the ledger calls the families of objects that a search finds,
// where it has another name: it goes by functions, and so tells more or fewer apart.
var ledgerNames = map[string]string{
	"proxy_neighbour": "proxy_neigh",
	"multicast_vif":   "multicast routing vif",
	"xdp_socket":      "AF_XDP",
	"devmap":          "XDP devmap",
	"j1939":           "CAN socket",
	"tls_offload":     "tls offload",
	"tx_watchdog":     "tx watchdog timer",
	"device_work":     "device work",
	"queued_packet":   "nfqueue entry",
	"mirred":          "tc mirred",
	"vlan":            "vlan lower",
	"macvlan":         "macvlan lower",
	"ipvlan":          "ipvlan lower",
	"macsec":          "macsec lower",
	"bridge_port":     "bridge port",
	"openvswitch":     "openvswitch vport",
	"batman":          "batman-adv",
	"tunnel":          "ip tunnel self",
	"xfrm":            "xfrm offload",
}

// ledgerName is what the ledger calls what an object has its reference for.
func ledgerName(o *record.HeldObject) string {
	if o.Family == "socket" && len(o.Sockets) > 0 {
		return socketFamily(o.Sockets[0].Family) + " socket"
	}
	if name, ok := ledgerNames[o.Family]; ok {
		return name
	}
	return o.Family
}

// joinable is a ledger of a device that can be held beside what a search found.
type joinable struct {
	record.RefLedger
	tracker bool // the kernel's own, not that of a netns-trace at work
}

func ledgerAtWork(r *record.RefLedger) *joinable { return &joinable{RefLedger: *r} }

func kernelTracker(r *record.RefTracker) *joinable {
	return &joinable{RefLedger: r.Ledger, tracker: true}
}

// joined is what such a ledger says of a device, beside what a search found.
type joined struct {
	tracker  bool
	since    uint64
	purposes []purpose // with references left, but for those that the device has of itself
	// missing are those of them of which fewer objects were found than there are
	// references, and how many fewer.
	missing map[string]int64
}

func join(l *joinable, objects []*record.HeldObject) *joined {
	if l == nil {
		return nil
	}
	found := make(map[string]int64)
	for _, o := range objects {
		if o.Means == record.PointerCounted {
			found[ledgerName(o)]++
		}
	}
	j := &joined{tracker: l.tracker, since: l.Generation, missing: make(map[string]int64)}
	for _, p := range purposes(&l.RefLedger) {
		if p.net() <= 0 || strings.HasPrefix(p.family, "self(") {
			continue
		}
		j.purposes = append(j.purposes, p)
		if n := p.net() - found[p.family]; n > 0 {
			j.missing[p.family] = n
		}
	}
	return j
}

func (j *joined) purposeOf(o *record.HeldObject) *purpose {
	if j == nil {
		return nil
	}
	name := ledgerName(o)
	if i := slices.IndexFunc(j.purposes, func(p purpose) bool { return p.family == name }); i >= 0 {
		return &j.purposes[i]
	}
	return nil
}

// evidence says that the ledger speaks too.
func (s *Searches) evidence(f *finding.Finding, j *joined) {
	if j.tracker {
		f.Evidence.How += "; and the kernel's own tracker of references (CONFIG_NET_DEV_REFCNT_TRACKER)"
		return
	}
	f.Evidence.How += fmt.Sprintf("; and the ledger of a netns-trace at work: %s, since %s",
		"every dev_hold and dev_put, counted where the kernel's code does them", s.known.WallClock(s.known.At(j.since)))
}

// ledgerTraces adds who took the references that there are for a purpose.
func (s *Searches) ledgerTraces(f *finding.Finding, p *purpose) {
	entries := holdsFirst(p.entries)
	for i := range entries {
		e := &entries[i]
		if e.Put || len(f.Traces) == tracesTold {
			break
		}
		t := wordTrace(s.known, e)
		f.Traces = append(f.Traces, t)
		text := callers(t)
		if !t.First.IsZero() {
			text += " at " + s.known.WallClock(t.First)
		}
		f.Facts = append(f.Facts, finding.Fact{Label: fmt.Sprintf("taken %+d", t.Count), Text: text})
	}
	if !p.oneSided() {
		f.Facts = append(f.Facts, finding.Fact{
			Label: "balance", Text: fmt.Sprintf("%s: %d taken, %d dropped", p.family, p.holds, p.puts),
		})
	}
}

// joinHeld says in the account of a device what the ledger has, and what of it no
// object was found for.
func (s *Searches) joinHeld(f *finding.Finding, j *joined) {
	if j == nil {
		return
	}
	s.evidence(f, j)
	families := make(map[string]int)
	for _, p := range j.purposes {
		families[p.family] = int(p.net())
	}
	f.Details["ledger"] = families
	since, label := " since "+s.known.WallClock(s.known.At(j.since)), "ledger"
	if j.tracker {
		since, label = " with a tracker", "tracker"
	}
	text := "nothing is left of what was taken" + since
	if len(families) > 0 {
		text = "left of what was taken" + since + ": " + wordFamilies(families)
	}
	f.Facts = append(f.Facts, finding.Fact{Label: label, Text: text})
	if len(j.missing) > 0 {
		f.Details["ledger_without_object"] = j.missing
		f.Facts = append(f.Facts, finding.Fact{Label: "not found", Text: "objects for " + j.missingWords()})
	}
}

// explains reports whether so many references without an object are those that the
// ledger has more of. Then there is nothing to guess; among what has the device's
// address without being a holder are that netns-trace's own maps.
func (j *joined) explains(references int64) bool {
	if j == nil {
		return false
	}
	for _, n := range j.missing {
		references -= n
	}
	return references == 0
}

func (j *joined) missingWords() string {
	var parts []string
	for _, family := range slices.Sorted(maps.Keys(j.missing)) {
		parts = append(parts, fmt.Sprintf("%s (%d)", family, j.missing[family]))
	}
	return strings.Join(parts, ", ")
}

// joinHolder gives an object the call traces of what it is.
func (s *Searches) joinHolder(f *finding.Finding, o *record.HeldObject, j *joined) {
	if p := j.purposeOf(o); p != nil {
		s.evidence(f, j)
		f.Details["ledger_family"] = p.family
		s.ledgerTraces(f, p)
	}
}

// joinLeaked gives references that no object explains the call traces of what the
// ledger has and no object was found for. It reports whether there are some.
func (s *Searches) joinLeaked(f *finding.Finding, j *joined) bool {
	if j == nil || len(j.missing) == 0 {
		return false
	}
	s.evidence(f, j)
	f.Details["ledger_without_object"] = j.missing
	who := "the ledger"
	if j.tracker {
		who = "the kernel's tracker"
	}
	f.Summary += "; " + who + " has " + j.missingWords()
	for i := range j.purposes {
		if p := &j.purposes[i]; j.missing[p.family] > 0 {
			s.ledgerTraces(f, p)
		}
	}
	return len(f.Traces) > 0
}

const releaseTraced = "nothing that can be closed, killed or deleted is known to release it; the call traces are of the code that took it"
