// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"testing"
	"time"

	"github.com/netns-trace/netns-trace/pkg/record"
)

func TestYoungNamespacesAreLookedAtTwice(t *testing.T) {
	var b births
	for inode := range uint32(3) {
		b.observe(&record.NetnsBirth{Netns: record.NetnsID{Inode: inode + 1}})
	}
	b.observe(&record.Tick{})
	if got := b.take(time.Now()); len(got) != 0 {
		t.Errorf("%d were looked at before they can have a name", len(got))
	}
	due, ok := b.next()
	if !ok || time.Until(due) > firstLook {
		t.Errorf("the next look is due %v, %v", due, ok)
	}
	later := time.Now().Add(firstLook)
	if got := b.take(later); len(got) != 3 || got[0].netns.Inode != 1 {
		t.Errorf("first looks: %v, want all three in their order", got)
	}
	if got := b.take(later.Add(secondLook)); len(got) != 3 {
		t.Errorf("second looks: %v, want all three", got)
	}
	if _, ok := b.next(); ok {
		t.Error("there is a third look")
	}
}

func TestNamespacesMadeInAFloodAreBounded(t *testing.T) {
	var b births
	for range 3 * birthsMax {
		b.observe(&record.NetnsBirth{})
	}
	if len(b.first) != birthsMax {
		t.Errorf("%d wait for a look, at most %d should", len(b.first), birthsMax)
	}
}
