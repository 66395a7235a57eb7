// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"slices"
	"time"

	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/record"
)

const (
	// A visit takes milliseconds mostly; a doubt that is as old as doubtFor was none.
	doubtOften = 50 * time.Millisecond
	doubtRare  = time.Second
	doubtFor   = time.Minute
	// doubtsMax bounds them; beyond it the place of the leader stands for home.
	doubtsMax = 256
)

// doubt is a process of two threads that were seen apart when tracing began. Its leader's
// place was taken for home, as it is that of most, and it may be the leader that is away:
// then it goes to where the other one is, before long.
type doubt struct {
	other record.ThreadSeen
	since time.Time
	due   time.Time
}

// doubts are looked at until they are settled or old.
type doubts []doubt

// add notes a process if there is a doubt.
func (d *doubts) add(threads []record.ThreadSeen, now time.Time) {
	other := threads[0]
	if len(threads) == 1 && other.Threads == 2 && other.Thread.TID != other.Thread.TGID && len(*d) < doubtsMax {
		*d = append(*d, doubt{other: other, since: now, due: now.Add(doubtOften)})
	}
}

// next is when there is something to look at; false: not at all.
func (d doubts) next() (time.Time, bool) {
	if len(d) == 0 {
		return time.Time{}, false
	}
	return slices.MinFunc(d, func(a, b doubt) int { return a.due.Compare(b.due) }).due, true
}

// settle looks at those that are due, and returns those whose leader is where the other
// thread is. leader tells where it is and how many threads there are; false: it is gone.
func (d *doubts) settle(now time.Time, leader func(tgid uint32) (inode uint32, threads int, ok bool)) []record.ThreadSeen {
	var home []record.ThreadSeen
	*d = slices.DeleteFunc(*d, func(one doubt) bool {
		if one.due.After(now) {
			return false
		}
		inode, threads, ok := leader(one.other.Thread.TGID)
		if !ok || threads != 2 || now.Sub(one.since) > doubtFor {
			return true // with another thread there is more to be seen than which of two is away
		}
		if inode != one.other.Netns.Inode {
			return false
		}
		home = append(home, one.other)
		return true
	})
	for i := range *d {
		one := &(*d)[i]
		if !one.due.After(now) {
			one.due = now.Add(min(doubtRare, max(doubtOften, now.Sub(one.since)/10)))
		}
	}
	return home
}

// lookAtDoubts corrects the homes of processes whose leader was the one that was away, and
// has come back to where the other thread always was.
func (l *Live) lookAtDoubts() error {
	for _, other := range l.doubts.settle(time.Now(), l.leader) {
		tgid, home := other.Thread.TGID, other.Netns
		if err := l.session.SetHome(tgid, home, tgid, other.Thread.TID); errors.Is(err, probe.ErrGone) {
			continue
		} else if err != nil {
			return err
		}
		// That either is away is not so any more, and never was of the other.
		for _, tid := range []uint32{tgid, other.Thread.TID} {
			thread := other.Thread
			thread.TID = tid
			l.feed(&record.NetnsSwitch{
				Time: record.Time(probe.Now()), Thread: thread, Home: home, From: other.Home, To: home, Threads: other.Threads,
			})
		}
	}
	return nil
}

func (l *Live) leader(tgid uint32) (inode uint32, threads int, ok bool) {
	inode, threads, err := l.namer.identity.ProcessNetns(int(tgid))
	return inode, threads, err == nil
}
