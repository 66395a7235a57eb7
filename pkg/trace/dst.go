// SPDX-License-Identifier: Apache-2.0

package trace

import "time"

// countEvery is how often the counters of dst entries are looked at.
const countEvery = time.Second

// lookAtDst feeds what the kernel has counted of dst entries: failures and crossings
// first, because they may explain a counter.
func (l *Live) lookAtDst(final bool) error {
	failures, err := l.session.DstFailures(final)
	if err != nil {
		return err
	}
	for i := range failures {
		l.feed(&failures[i])
	}
	crossings, err := l.session.DstCrossings(final)
	if err != nil {
		return err
	}
	for i := range crossings {
		l.feed(&crossings[i])
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
