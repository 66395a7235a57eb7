// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"cmp"
	"context"
	"slices"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// Start goes through the threads that live already. Home is where a process's
// leader is, and that is wrong if it is the leader that is away: so the threads
// that were seen away are first looked at together.
func (l *Live) Start(ctx context.Context) error {
	l.seen = make(map[uint32][]record.ThreadSeen)
	if err := l.session.Scan(); err != nil {
		return err
	}
	if err := l.Drain(ctx); err != nil {
		return err
	}
	seen := l.seen
	l.seen = nil
	for _, threads := range sortedByPID(seen) {
		if err := l.startProcess(threads); err != nil {
			return err
		}
	}
	return nil
}

// startProcess feeds the threads of one process that were seen away.
func (l *Live) startProcess(threads []record.ThreadSeen) error {
	if leaderMoved(threads) {
		first := threads[0]
		var members []uint32
		for _, t := range threads {
			members = append(members, t.Thread.TID)
		}
		if err := l.session.SetHome(first.Thread.TGID, first.Netns, members); err != nil {
			return err
		}
		leader := record.Thread{TGID: first.Thread.TGID, TID: first.Thread.TGID}
		if p, err := l.namer.identity.Process(int(leader.TGID)); err == nil {
			leader.Comm = p.Comm
			leader.Start = p.StartTicks * tick
		}
		threads = []record.ThreadSeen{{
			Time: first.Time, Thread: leader, Home: first.Netns, Netns: first.Home, Threads: first.Threads,
		}}
	}
	for i := range threads {
		l.feed(&threads[i])
	}
	return nil
}

// tick is ns in a clock tick of /proc.
const tick = 10_000_000

// leaderMoved reports whether all threads of a process but its leader are in one
// other place, and they are at least two: then it is the leader that is away.
func leaderMoved(threads []record.ThreadSeen) bool {
	first := threads[0]
	return len(threads) >= 2 && uint32(len(threads))+1 == first.Threads &&
		!slices.ContainsFunc(threads, func(t record.ThreadSeen) bool {
			return t.Thread.TID == t.Thread.TGID || !t.Netns.Same(first.Netns)
		})
}

func sortedByPID(seen map[uint32][]record.ThreadSeen) [][]record.ThreadSeen {
	var out [][]record.ThreadSeen
	for _, threads := range seen {
		out = append(out, threads)
	}
	slices.SortFunc(out, func(a, b []record.ThreadSeen) int {
		return cmp.Compare(a[0].Thread.TGID, b[0].Thread.TGID)
	})
	return out
}
