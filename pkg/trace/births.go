// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"time"

	"github.com/netns-trace/netns-trace/pkg/record"
)

const (
	// A namespace gets its bind mount right after it is made, and its container's
	// records some time later.
	firstLook  = 50 * time.Millisecond
	secondLook = 2 * time.Second
	// birthsMax bounds the namespaces waiting for their name; beyond it they are
	// looked up when something is found in them.
	birthsMax = 4096
)

// birth is a namespace that was made, and is to be looked at when it is due.
type birth struct {
	netns record.NetnsID
	maker int // pid
	due   time.Time
}

// births are the young namespaces, in the order in which they are due.
type births struct{ first, second []birth }

func (b *births) observe(rec record.Record) {
	if r, ok := rec.(*record.NetnsBirth); ok && len(b.first) < birthsMax {
		b.first = append(b.first, birth{netns: r.Netns, maker: int(r.Thread.TID), due: time.Now().Add(firstLook)})
	}
}

// next is when there is something to look at; false: not at all.
func (b *births) next() (time.Time, bool) {
	switch {
	case len(b.first) > 0 && (len(b.second) == 0 || b.first[0].due.Before(b.second[0].due)):
		return b.first[0].due, true
	case len(b.second) > 0:
		return b.second[0].due, true
	}
	return time.Time{}, false
}

// take returns those that are due.
func (b *births) take(now time.Time) []birth {
	var out []birth
	for len(b.first) > 0 && !b.first[0].due.After(now) {
		young := b.first[0]
		b.first = b.first[1:]
		out = append(out, young)
		if len(b.second) < birthsMax {
			young.due = now.Add(secondLook)
			b.second = append(b.second, young)
		}
	}
	for len(b.second) > 0 && !b.second[0].due.After(now) {
		out = append(out, b.second[0])
		b.second = b.second[1:]
	}
	return out
}

// lookAtBirths learns the names of young namespaces while they live.
func (l *Live) lookAtBirths() {
	for _, young := range l.births.take(time.Now()) {
		for _, name := range l.namer.learn(young) {
			l.engine.Feed(name)
		}
	}
}
