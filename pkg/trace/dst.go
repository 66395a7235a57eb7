// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"time"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// countEvery is how often the counters of dst entries are looked at.
const countEvery = time.Second

// newsFor is how long a count that stands still is fed: a detector tells of growth up
// to ten seconds later.
const newsFor = record.Time(12 * time.Second)

// news remembers counts of the kernel by what they are of, so that those that have
// long stood still are not fed and named each second. The kernel's map bounds it.
type news[K comparable] map[K]lastCount

type lastCount struct {
	count uint64
	since record.Time // when it was first seen
}

// has reports whether there may be something to tell of the count.
func (n news[K]) has(of K, count uint64, at record.Time) bool {
	last, seen := n[of]
	if !seen || last.count != count {
		n[of] = lastCount{count, at}
		return true
	}
	return at-last.since < newsFor
}

type failedOps struct {
	ops   uint64
	netns record.NetnsID
}

type crossedOps struct {
	from, to uint64
	netns    record.NetnsID
	cause    record.DstCrossingCause
}

// dstNews is what was seen of the counts of failures and crossings.
type dstNews struct {
	failures  news[failedOps]
	crossings news[crossedOps]
}

// lookAtDst feeds what the kernel has counted of dst entries: failures and crossings
// first, because they may explain a counter.
func (l *Live) lookAtDst(final bool) error {
	failures, err := l.session.DstFailures(final)
	if err != nil {
		return err
	}
	for i := range failures {
		r := &failures[i]
		if l.dst.failures.has(failedOps{r.Ops.Addr, r.Ops.Netns}, r.Count, r.Time) || final {
			l.feed(r)
		}
	}
	crossings, err := l.session.DstCrossings(final)
	if err != nil {
		return err
	}
	for i := range crossings {
		r := &crossings[i]
		if l.dst.crossings.has(crossedOps{r.From.Addr, r.To.Addr, r.From.Netns, r.Cause}, r.Count, r.Time) || final {
			l.feed(r)
		}
	}
	counters, err := l.session.DstCounters()
	if err != nil {
		return err
	}
	for i := range counters {
		l.feed(&counters[i])
	}
	return nil
}
