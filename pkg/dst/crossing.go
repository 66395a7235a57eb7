// SPDX-License-Identifier: Apache-2.0

package dst

import (
	"fmt"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// The causes of a drift, in its details.
const (
	causeOtherOps    = "released on another ops"
	causeGone        = "namespace gone"
	causeFlags       = "flags changed"
	causeShared      = "shared counter"
	causeUnexplained = "unexplained"
)

type crossingKey struct {
	from, to uint64
	netns    record.NetnsID
	cause    record.DstCrossingCause
}

type crossing struct{ pace }

func (d *Detector) crossed(r *record.DstCrossing, emit func(*finding.Finding)) {
	k := crossingKey{r.From.Addr, r.To.Addr, r.From.Netns, r.Cause}
	c := d.crossings[k]
	if c == nil {
		c = &crossing{pace{id: finding.NewID(finding.Dst, KindDrift, k, r.When())}}
		d.crossings[k] = c
	}
	if state, due := c.due(r.When(), r.Count, r.Final); due {
		emit(d.reportCrossing(c.id, r, state))
	}
}

func (d *Detector) reportCrossing(id string, r *record.DstCrossing, state finding.State) *finding.Finding {
	f := d.finding(KindDrift, id, state, r.When(), howCrossing)
	f.Count = int64(r.Count)
	f.Netns = d.netns(r.From)
	f.Details["from"], f.Details["to"] = d.accountDetails(r.From), d.accountDetails(r.To)
	n, from, to := entries(f.Count), d.counterOf(r.From), d.counterOf(r.To)
	switch r.Cause {
	case record.DstOtherOps:
		f.Details["cause"] = causeOtherOps
		f.Summary = fmt.Sprintf("%s charged to the %s, released from the %s", n, from, to)
		if r.NoCount {
			f.Facts = append(f.Facts, finding.Fact{Label: "flags", Text: "DST_NOCOUNT was set by then: no counter was decremented"})
		}
	case record.DstNetnsGone:
		f.Details["cause"] = causeGone
		f.Summary = fmt.Sprintf("%s charged to the %s, released when its memory was no longer that namespace's", n, from)
		if r.To.Netns.Inode != 0 {
			f.Facts = append(f.Facts, finding.Fact{Label: "now", Text: "the " + to})
		}
	default:
		f.Details["cause"] = causeFlags
		change := "not charged to the %s, but released from it: DST_NOCOUNT went meanwhile"
		if r.NoCount {
			change = "charged to the %s, but not released from it: DST_NOCOUNT came meanwhile"
		}
		f.Summary = n + " " + fmt.Sprintf(change, from)
	}
	return f
}
