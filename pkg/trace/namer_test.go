// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"testing"

	"github.com/netns-trace/netns-trace/pkg/identity"
	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// Where namespaces come and go all day what is remembered of them does not grow: they
// get the inode numbers of those before.
func TestCountersOfNamespacesThatComeAndGo(t *testing.T) {
	n := NewNamer(identity.New(t.TempDir()), func() *kernel.Symbols { return nil }, nil, false)
	const numbers = 4
	for i := range uint64(1000) {
		r := &record.DstCounter{}
		r.Ops.Netns = record.NetnsID{Inode: 4026532000 + uint32(i%numbers), Cookie: i + 1}
		n.Names(r)
	}
	if len(n.counted) != numbers {
		t.Errorf("%d namespaces are remembered, of %d inode numbers", len(n.counted), numbers)
	}
	one := &record.DstCounter{}
	one.Ops.Netns = record.NetnsID{Inode: 4026532000, Cookie: 1001}
	for range 10 {
		n.Names(one)
	}
	if c := n.counted[4026532000]; c.asked != 4 || c.netns != one.Ops.Netns {
		t.Errorf("of one that stays %+v is remembered, want that it was asked for 4 times", c)
	}
	n.Names(&record.NetnsBirth{Netns: one.Ops.Netns})
	if len(n.counted) != numbers-1 {
		t.Error("a namespace that was born has what was remembered of the one before")
	}
}
