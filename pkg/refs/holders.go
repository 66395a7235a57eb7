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

const howHolder = "made and not freed since tracing started; its device was read from it at this time"

// holder is an object by its address and when it was made: addresses are reused.
type holder struct {
	record.Holder
	id   string
	told bool
}

type holderKey struct{ object, since uint64 }

// holders are the objects that hold one device.
type holders struct {
	scanned bool // at least once
	current map[holderKey]*holder
	seen    map[holderKey]*holder // by the scan that is under way
}

func (hs *holders) saw(r *record.Holder) {
	if hs.seen == nil {
		hs.seen = make(map[holderKey]*holder)
	}
	key := holderKey{r.Object, r.Since}
	h := hs.current[key]
	if h == nil {
		h = &holder{id: finding.NewID(finding.Refs, r.Dev, r.Object, r.Since)}
	}
	h.Holder = *r
	h.Stacks = r.Stacks.Clone()
	hs.seen[key] = h
}

// settle ends a scan. It returns what is new and to be told, and what was told and
// is no longer there; both oldest first.
func (hs *holders) settle() (fresh, gone []*holder) {
	told := 0
	for key, h := range hs.current {
		switch {
		case hs.seen[key] == nil && h.told:
			gone = append(gone, h)
		case h.told:
			told++
		}
	}
	hs.current, hs.seen, hs.scanned = hs.seen, nil, true
	for _, h := range inOrder(slices.Collect(maps.Values(hs.current))) {
		if !h.told && told < holdersTold {
			h.told = true
			told++
			fresh = append(fresh, h)
		}
	}
	return fresh, inOrder(gone)
}

// told returns the holders that there are findings of.
func (hs *holders) told() []*holder {
	var out []*holder
	for _, h := range hs.current {
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

// families counts the holders by their family's name.
func (hs *holders) families() map[string]int {
	out := make(map[string]int)
	for _, h := range hs.current {
		out[familyOf(h.Family).name]++
	}
	return out
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
		Evidence: d.known.Evidence(finding.Refs, howHolder),
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
	f.Summary = fmt.Sprintf("%s%s is held by %s, made %s before by %s (pid %d)",
		w.name, where, words, age.Round(100*time.Millisecond), h.Thread.Comm, h.Thread.TGID)
	if state == finding.Closed {
		f.Count = 0
		f.Summary = fmt.Sprintf("%s%s is no longer held by %s", w.name, where, words)
		return f
	}
	if h.ObjectRefsKnown {
		f.Details["object_references"] = h.ObjectRefs
		f.Facts = append(f.Facts, finding.Fact{Label: "object", Text: fmt.Sprintf("%s itself: %s", fam.name, references(int64(h.ObjectRefs)))})
	}
	return f
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
