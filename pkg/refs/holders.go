// SPDX-License-Identifier: Apache-2.0

package refs

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// holdersTold is how many holders of one device are findings of their own; all are
// counted.
const holdersTold = 32

// absences is how many scans in a row have to be without a holder until it counts as
// gone: the kernel's walk through its table may pass one over while others are freed.
const absences = 2

const (
	howHolder = "made and not freed since tracing started; its device was read from it at this time"
	howKprobe = "; some kinds are seen by kprobes, of which the kernel may skip a hit without telling"
)

// holder is an object by its address and when it was made: addresses are reused.
type holder struct {
	record.Holder
	id     string
	told   bool
	absent int // scans in a row that did not see it
}

type holderKey struct{ object, since uint64 }

// holders are the objects that hold one device: the oldest of them, and how many of
// each family there are.
type holders struct {
	scanned bool // at least once
	known   map[holderKey]*holder
	seen    map[holderKey]bool // by the scan that is under way
	counts  map[string]int     // by the family's name
	total   int64
}

func (hs *holders) saw(r *record.Holder) {
	if hs.seen == nil {
		hs.seen = make(map[holderKey]bool)
	}
	if hs.known == nil {
		hs.known = make(map[holderKey]*holder)
	}
	key := holderKey{r.Object, r.Since}
	hs.seen[key] = true
	h := hs.known[key]
	if h == nil {
		h = &holder{id: finding.NewID(finding.Refs, r.Dev, r.Object, r.Since)}
		hs.known[key] = h
	}
	h.Holder = *r
	h.Stacks = r.Stacks.Clone()
	h.absent = 0
}

// settle ends a scan. It returns what is new and to be told, what was told and is no
// longer there, both oldest first, and whether the numbers are others than before.
func (hs *holders) settle(counts map[string]int) (fresh, gone []*holder, changed bool) {
	told := 0
	for key, h := range hs.known {
		if !hs.seen[key] {
			h.absent++
		}
		switch {
		case h.absent >= absences || h.absent > 0 && !h.told:
			delete(hs.known, key)
			if h.told {
				gone = append(gone, h)
			}
		case h.told:
			told++
		}
	}
	changed = hs.scanned && !maps.Equal(hs.counts, counts)
	hs.seen, hs.counts, hs.scanned, hs.total = nil, counts, true, 0
	for _, n := range counts {
		hs.total += int64(n)
	}
	for _, h := range inOrder(slices.Collect(maps.Values(hs.known))) {
		if !h.told && told < holdersTold {
			h.told = true
			told++
			fresh = append(fresh, h)
		}
	}
	return fresh, inOrder(gone), changed
}

// told returns the holders that there are findings of.
func (hs *holders) told() []*holder {
	var out []*holder
	for _, h := range hs.known {
		if h.told {
			out = append(out, h)
		}
	}
	return inOrder(out)
}

func inOrder(all []*holder) []*holder {
	slices.SortFunc(all, func(a, b *holder) int {
		return cmp.Or(cmp.Compare(a.Since, b.Since), cmp.Compare(a.Object, b.Object))
	})
	return all
}

func wordFamilies(families map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(families)) {
		parts = append(parts, fmt.Sprintf("%s (%d)", name, families[name]))
	}
	return strings.Join(parts, ", ")
}

// family is what the objects of one family are called: by programs, and by people.
type family struct{ name, words string }

var families = map[record.HolderFamily]family{
	record.HolderDst:        {"dst", "a dst entry"},
	record.HolderNeighbour:  {"neighbour", "a neighbour"},
	record.HolderNeighParms: {"neigh_parms", "neighbour parameters"},
	record.HolderInDev:      {"in_device", "its IPv4 state (in_device)"},
	record.HolderInet6Dev:   {"inet6_dev", "its IPv6 state (inet6_dev)"},
	record.HolderNexthop:    {"nexthop", "the nexthop of a route"},
	record.HolderPacket:     {"packet_socket", "a packet socket"},
	record.HolderQdisc:      {"qdisc", "a qdisc"},
	record.HolderAdjacency:  {"adjacent_device", "an adjacent device"},
	record.HolderRxQueue:    {"rx_queue", "a receive queue in sysfs"},
	record.HolderTxQueue:    {"tx_queue", "a transmit queue in sysfs"},
	record.HolderLinkwatch:  {"linkwatch", "a pending link event"},
}

func familyOf(f record.HolderFamily) family {
	if known, ok := families[f]; ok {
		return known
	}
	name := fmt.Sprintf("family %d", f) // a newer writer's
	return family{name, "an object of " + name}
}

func (d *Detector) holderReport(w *device, h *holder, state finding.State, at uint64) *finding.Finding {
	fam := familyOf(h.Family)
	age := time.Duration(max(at, h.Since) - h.Since)
	f := &finding.Finding{
		ID: h.id, State: state, Class: finding.Refs, Kind: KindHolder,
		Time:     d.known.At(at),
		Device:   &finding.Device{Name: w.name, Ifindex: w.ifindex},
		Process:  d.known.Process(h.Thread),
		Count:    1,
		Stack:    d.known.Stack(0, h.Stacks.Kernel),
		Evidence: d.sampled(d.known.Evidence(finding.Refs, d.howHolder())),
		Details: map[string]any{
			"family": fam.name, "waiting": w.id,
			"held_since": d.known.At(h.Since), "held_ms": age.Milliseconds(),
		},
	}
	where := ""
	if w.netns != nil {
		f.Netns = d.known.Netns(*w.netns)
		where = " of netns " + f.Netns.String()
	}
	words := h.describe(fam, f)
	f.Summary = fmt.Sprintf("%s%s is held by %s, made %s before%s", w.name, where, words,
		age.Round(100*time.Millisecond), h.maker(f))
	if state == finding.Closed {
		f.Count = 0
		f.Summary = fmt.Sprintf("%s%s is no longer held by %s", w.name, where, words)
		return f
	}
	d.left(w, f)
	if h.ObjectRefsKnown {
		f.Details["object_references"] = h.ObjectRefs
		f.Facts = append(f.Facts, finding.Fact{Label: "object", Text: fmt.Sprintf("%s itself: %s", fam.name, references(int64(h.ObjectRefs)))})
	}
	return f
}

func (d *Detector) howHolder() string {
	if d.known.HoldersByKprobe() {
		return howHolder + howKprobe
	}
	return howHolder
}

// maker says who made it, as far as that is known: in a soft interrupt the process of
// that time is whoever was interrupted, and without a stack it is not known to be one.
func (h *holder) maker(f *finding.Finding) string {
	who := fmt.Sprintf("%s (pid %d)", h.Thread.Comm, h.Thread.TGID)
	switch {
	case finding.InSoftirq(f.Stack):
		f.Details["context"] = "softirq"
		f.Process = nil
		return " in a soft interrupt"
	case len(f.Stack) == 0 && !rtnlOnly[h.Family]:
		return " while " + who + " ran"
	}
	f.Details["context"] = "process"
	return " by " + who
}

// rtnlOnly are the families whose objects are made by a process's request alone.
var rtnlOnly = map[record.HolderFamily]bool{
	record.HolderNeighParms: true, record.HolderInDev: true, record.HolderInet6Dev: true,
	record.HolderPacket: true, record.HolderQdisc: true, record.HolderAdjacency: true,
	record.HolderRxQueue: true, record.HolderTxQueue: true,
}

// describe says which object it is, in words, and in details.
func (h *holder) describe(fam family, f *finding.Finding) string {
	words := fam.words
	switch h.Family {
	case record.HolderNeighbour, record.HolderNexthop:
		if ip, ok := h.IP(); ok {
			f.Details["address"] = ip.String()
			words += " " + ip.String()
		}
	case record.HolderQdisc:
		f.Details["qdisc"], f.Details["handle"] = h.Text, fmt.Sprintf("%x:", h.Handle>>16)
		words += fmt.Sprintf(" %s %x:", h.Text, h.Handle>>16)
	case record.HolderAdjacency:
		f.Details["adjacent"] = h.Text
		words += " " + h.Text
	case record.HolderDst, record.HolderNeighParms:
		if side := addressFamily(h.AddressFamily); side != "" {
			f.Details["address_family"] = side
			words += " of " + side
		}
	}
	return words
}

func addressFamily(af uint32) string {
	switch af {
	case 2:
		return "IPv4"
	case 10:
		return "IPv6"
	}
	return ""
}
