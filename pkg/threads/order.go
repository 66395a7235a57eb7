// SPDX-License-Identifier: Apache-2.0

package threads

import (
	"cmp"
	"maps"
	"slices"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// sorted gives the threads in the order of their tids, so that the same records
// give the same findings in the same order.
func (d *Detector) sorted() []*thread {
	if len(d.threads) == 0 {
		return nil
	}
	return slices.SortedFunc(maps.Values(d.threads), func(a, b *thread) int {
		return cmp.Compare(a.id.TID, b.id.TID)
	})
}

// withoutMovedLeaders turns the picture round for a process whose threads, found
// at the start, are all in one place and only the leader is elsewhere: then it is
// the leader that moved. Its own finding stands for the others'.
func withoutMovedLeaders(due []*thread) []*thread {
	type group struct {
		members []*thread
		netns   record.NetnsID
		same    bool // and the leader is not among them
	}
	groups := make(map[uint32]*group)
	for _, t := range due {
		if t.origin != seenBefore {
			continue
		}
		g := groups[t.id.TGID]
		if g == nil {
			g = &group{netns: t.netns, same: true}
			groups[t.id.TGID] = g
		}
		g.same = g.same && g.netns.Same(t.netns) && t.id.TID != t.id.TGID
		g.members = append(g.members, t)
	}
	moved := make(map[uint32]bool)
	for tgid, g := range groups {
		n := len(g.members)
		moved[tgid] = g.same && n >= 2 && uint32(n)+1 == g.members[0].processSize
	}
	told := make(map[uint32]bool)
	var out []*thread
	for _, t := range due {
		if t.origin == seenBefore && moved[t.id.TGID] {
			if told[t.id.TGID] {
				continue
			}
			told[t.id.TGID] = true
			leader := *t
			leader.id.TID = t.id.TGID
			leader.home, leader.netns = t.netns, t.home
			t = &leader
		}
		out = append(out, t)
	}
	return out
}
