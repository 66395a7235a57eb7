// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"testing"

	"github.com/netns-trace/netns-trace/pkg/record"
)

func TestLeaderMoved(t *testing.T) {
	host, red := record.NetnsID{Inode: 1}, record.NetnsID{Inode: 2}
	seen := func(threads uint32, where record.NetnsID, tids ...uint32) []record.ThreadSeen {
		var out []record.ThreadSeen
		for _, tid := range tids {
			out = append(out, record.ThreadSeen{
				Thread: record.Thread{TGID: 10, TID: tid}, Home: host, Netns: where, Threads: threads,
			})
		}
		return out
	}
	for _, test := range []struct {
		name    string
		threads []record.ThreadSeen
		want    bool
	}{
		{"all three others are elsewhere together: it is the leader that moved", seen(4, red, 11, 12, 13), true},
		{"one of them is with the leader", seen(4, red, 11, 12), false},
		{"they are in different places", append(seen(4, red, 11, 12), seen(4, record.NetnsID{Inode: 3}, 13)...), false},
		{"of two threads one is elsewhere: that one", seen(2, red, 11), false},
		{"with --home the leader itself is away", seen(3, red, 10, 11), false},
	} {
		if got := leaderMoved(test.threads); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
