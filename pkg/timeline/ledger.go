// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"cmp"
	"maps"
	"slices"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// purposesMax bounds the families of references that are told apart on one device.
const purposesMax = 64

// Purpose is how many references a device has for one thing, by its ledger.
type Purpose struct {
	Family string
	// Left are the references over time: taken less dropped.
	Left series
	// Known is from when on Left is known. Before, only sums were kept.
	Known uint64
}

// stated takes in what the ledger says of a device that waits.
func (t *Timeline) stated(r *record.RefLedger) {
	d := t.devices[r.Dev]
	if d == nil || r.Dev == 0 {
		return
	}
	if d.Counted != r.Generation {
		d.Counted, d.Purposes = r.Generation, nil
	}
	d.Before, d.Settled = r.Before, r.Settled
	uses := make(map[string][]record.RefUse)
	for use := range r.Uses() {
		uses[use.Family] = append(uses[use.Family], use)
	}
	for _, family := range slices.Sorted(maps.Keys(uses)) {
		i := slices.IndexFunc(d.Purposes, func(p *Purpose) bool { return p.Family == family })
		if i < 0 {
			if len(d.Purposes) >= purposesMax {
				t.Dropped++
				continue
			}
			i = len(d.Purposes)
			d.Purposes = append(d.Purposes, past(family, r, uses[family]))
		}
		left := int64(0)
		for _, use := range uses[family] {
			left += use.Signed()
		}
		d.Purposes[i].Left = d.Purposes[i].Left.add(r.When(), left)
	}
}

// past is what a ledger tells of the time before it was read. A trace has the times of
// its first and its last reference: when there were two at most, that is all of them.
// Of more, or of what has no trace, only the sum is known, from the last time on.
func past(family string, r *record.RefLedger, uses []record.RefUse) *Purpose {
	p := &Purpose{Family: family, Known: r.Generation}
	var steps []Point
	sum := int64(0)
	for _, use := range uses {
		// A trace can be newer than the ledger's time, by as long as reading took.
		use.First, use.Last = min(use.First, r.When()), min(use.Last, r.When())
		sum += use.Signed()
		each := use.Signed() / int64(use.Count)
		switch {
		case use.First == 0:
			p.Known = r.When()
		case use.Count > 2:
			p.Known = max(p.Known, use.Last)
		case use.Count == 2:
			steps = append(steps, Point{use.Last, []int64{each}})
			fallthrough
		default:
			steps = append(steps, Point{use.First, []int64{each}})
		}
	}
	slices.SortStableFunc(steps, func(a, b Point) int { return cmp.Compare(a.At, b.At) })
	// What is left at last is known: what was left at any time since Known follows.
	left := sum
	for _, s := range steps {
		if s.At > p.Known {
			left -= s.Values[0]
		}
	}
	p.Left = p.Left.add(p.Known, left)
	for _, s := range steps {
		if s.At > p.Known {
			left += s.Values[0]
			p.Left = p.Left.add(s.At, left)
		}
	}
	return p
}
