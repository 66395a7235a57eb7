// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"testing"
	"time"

	"github.com/netns-trace/netns-trace/pkg/record"
)

func TestDoubts(t *testing.T) {
	const host, red, blue = 1, 2, 3
	began := time.Now()
	apart := func(threads uint32, tids ...uint32) []record.ThreadSeen {
		var out []record.ThreadSeen
		for _, tid := range tids {
			out = append(out, record.ThreadSeen{
				Thread: record.Thread{TGID: 10, TID: tid}, Home: record.NetnsID{Inode: red}, Netns: record.NetnsID{Inode: host}, Threads: threads,
			})
		}
		return out
	}
	for _, test := range []struct {
		name    string
		seen    []record.ThreadSeen
		doubted bool
	}{
		{"of two threads either can be away", apart(2, 11), true},
		{"of three two are with each other, and with the leader is one", apart(3, 11), false},
		{"the leader alone is away: home was said", apart(2, 10), false},
		{"two are away: that is decided already", apart(3, 11, 12), false},
	} {
		var d doubts
		d.add(test.seen, began)
		if got := len(d) > 0; got != test.doubted {
			t.Errorf("%s: %v", test.name, got)
		}
	}

	for _, test := range []struct {
		name    string
		after   time.Duration
		leader  uint32
		threads int
		gone    bool
		moved   bool // the home is corrected
		left    bool // there is still a doubt
	}{
		{name: "too early to look", after: doubtOften / 2, leader: host, threads: 2, left: true},
		{name: "the leader is where it was", after: time.Second, leader: red, threads: 2, left: true},
		{name: "the leader is in a third place", after: time.Second, leader: blue, threads: 2, left: true},
		{name: "the leader has come to the other", after: time.Second, leader: host, threads: 2, moved: true},
		{name: "there is a third thread by now", after: time.Second, leader: host, threads: 3},
		{name: "the process has exited", after: time.Second, gone: true},
		{name: "the leader never came", after: 2 * doubtFor, leader: red, threads: 2},
	} {
		var d doubts
		d.add(apart(2, 11), began)
		moved := d.settle(began.Add(test.after), func(uint32) (uint32, int, bool) { return test.leader, test.threads, !test.gone })
		if (len(moved) > 0) != test.moved || (len(d) > 0) != test.left {
			t.Errorf("%s: %d moved, %d left", test.name, len(moved), len(d))
		}
		if due, ok := d.next(); ok && test.after > doubtOften && !due.After(began.Add(test.after)) {
			t.Errorf("%s: the next look is due before the last", test.name)
		}
	}

	var many doubts
	for range 2 * doubtsMax {
		many.add(apart(2, 11), began)
	}
	if len(many) != doubtsMax {
		t.Errorf("%d doubts are kept, at most %d should be", len(many), doubtsMax)
	}
}
