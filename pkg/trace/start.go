// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// Start goes through the threads that live already. Home is where a process's
// leader is, and that is wrong if it is the leader that is away: so the threads
// that were seen away are first looked at together. Where moves are not seen nobody is
// looked at: a thread on its way would seem to stay.
func (l *Live) Start(ctx context.Context) error {
	if l.moves == probe.MovesUnseen {
		return nil
	}
	seen, err := l.scan(ctx)
	if err != nil {
		return err
	}
	for _, threads := range seen {
		if threads, err = l.correct(threads); err != nil {
			return err
		}
		for i := range threads {
			l.feed(&threads[i])
		}
	}
	return nil
}

// correct corrects the home of a process of which these threads seem to be away, and
// returns those that then are.
func (l *Live) correct(threads []record.ThreadSeen) ([]record.ThreadSeen, error) {
	if l.session.HomeGiven() {
		return threads, nil
	}
	l.doubts.add(threads, time.Now())
	if leaderMoved(threads) {
		return l.moveHome(threads)
	}
	return threads, nil
}

// scanAgain goes through the threads once more, because the kernel did not run the
// programs for some hits: who was cloned or moved unseen is then in its list.
func (l *Live) scanAgain(ctx context.Context) error {
	seen, err := l.scan(ctx)
	if err != nil {
		return err
	}
	for _, threads := range seen {
		if _, err := l.correct(threads); err != nil {
			return err
		}
	}
	l.reconcile = true
	return l.lookAtLosses()
}

// scan returns the threads that are away and were not known to be, by process.
func (l *Live) scan(ctx context.Context) ([][]record.ThreadSeen, error) {
	l.missed, l.scanned = false, time.Now()
	l.seen = make(map[uint32][]record.ThreadSeen)
	defer func() { l.seen = nil }()
	if err := l.session.Scan(); err != nil {
		return nil, err
	}
	if err := l.Drain(ctx); err != nil {
		return nil, err
	}
	return sortedByPID(l.seen), nil
}

// moveHome corrects the home of a process whose leader is the one that is away, and
// returns what is then away: nothing if the process has exited meanwhile.
func (l *Live) moveHome(threads []record.ThreadSeen) ([]record.ThreadSeen, error) {
	first := threads[0]
	var members []uint32
	for _, t := range threads {
		members = append(members, t.Thread.TID)
	}
	err := l.session.SetHome(first.Thread.TGID, first.Netns, members...)
	if err == nil {
		err = l.session.SetAway(first.Thread.TGID, first.Home)
	}
	if errors.Is(err, probe.ErrGone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	leader := record.Thread{TGID: first.Thread.TGID, TID: first.Thread.TGID}
	if p, err := l.namer.identity.Process(int(leader.TGID)); err == nil {
		leader.Comm = p.Comm
		leader.Start = p.StartTicks * tick
	}
	return []record.ThreadSeen{{
		Time: first.Time, Thread: leader, Home: first.Netns, Netns: first.Home, Threads: first.Threads,
	}}, nil
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
