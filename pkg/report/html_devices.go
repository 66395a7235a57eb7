// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"slices"

	"github.com/netns-trace/netns-trace/pkg/refs"
	"github.com/netns-trace/netns-trace/pkg/timeline"
)

type pageDevice struct {
	Name     string      `json:"name"`
	Netns    string      `json:"netns"`
	Since    float64     `json:"since"`
	Freed    float64     `json:"freed,omitempty"`
	Refs     [][]float64 `json:"refs"` // at, references
	Families []string    `json:"families"`
	Holders  [][]float64 `json:"holders"` // at, one number for each family
	// Taken is what the ledger says, what is left at last first.
	Taken  []pageTaken `json:"taken,omitempty"`
	Before float64     `json:"before,omitempty"` // references that are older than the ledger
}

// pageTaken is what references were taken for.
type pageTaken struct {
	Family string      `json:"family"`
	Known  float64     `json:"known"`  // from when on the points are known
	Points [][]float64 `json:"points"` // at, references
	Last   float64     `json:"last"`
}

func (p *Page) device(dev *timeline.Device) pageDevice {
	out := pageDevice{
		Name: dev.Name, Netns: p.netns(dev.Netns), Since: p.at(dev.Since), Refs: [][]float64{}, Holders: [][]float64{}, Families: []string{},
	}
	if dev.Freed != 0 {
		out.Freed = p.at(dev.Freed)
	}
	for _, pt := range dev.Refs {
		references, _ := p.known.References(int32(pt.Values[0]))
		out.Refs = append(out.Refs, []float64{p.at(pt.At), float64(references)})
	}
	for _, f := range dev.Families {
		out.Families = append(out.Families, refs.FamilyName(f))
	}
	for _, pt := range dev.Holders {
		point := []float64{p.at(pt.At)}
		for _, v := range pt.Values {
			point = append(point, float64(v))
		}
		for len(point) < 1+len(dev.Families) {
			point = append(point, 0)
		}
		out.Holders = append(out.Holders, point)
	}
	for _, t := range dev.Purposes {
		taken := pageTaken{Family: refs.PurposeWords(t.Family), Known: p.at(t.Known)}
		for _, pt := range t.Left {
			taken.Points = append(taken.Points, []float64{p.at(pt.At), float64(pt.Values[0])})
			taken.Last = float64(pt.Values[0])
		}
		out.Taken = append(out.Taken, taken)
	}
	slices.SortStableFunc(out.Taken, func(a, b pageTaken) int { return cmp.Compare(b.Last, a.Last) })
	if before, ok := p.known.References(int32(dev.Before)); ok && dev.Settled {
		out.Before = float64(before)
	}
	return out
}
