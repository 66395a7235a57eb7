// SPDX-License-Identifier: Apache-2.0

package threads

import (
	"testing"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// A recording with 6,600 threads that were left behind took ten minutes to report: at
// each way home all of them were sorted.
func TestAWayHomeDoesNotGoThroughAllThreads(t *testing.T) {
	home, away := record.NetnsID{Cookie: 1, Inode: 1}, record.NetnsID{Cookie: 2, Inode: 2}
	d := New(Config{Away: 1 << 60}, new(finding.Knowledge))
	emit := func(*finding.Finding) {}
	for tid := range uint32(5000) {
		d.Observe(&record.NetnsSwitch{Time: 1, Thread: record.Thread{TGID: 1, TID: tid, Start: 1}, Home: home, From: home, To: away}, emit)
	}
	worker := record.Thread{TGID: 1, TID: 9999, Start: 1}
	out := &record.NetnsSwitch{Time: 2, Thread: worker, Home: home, From: home, To: away}
	back := &record.NetnsSwitch{Time: 3, Thread: worker, Home: home, From: away, To: home}
	result := testing.Benchmark(func(b *testing.B) {
		for range b.N {
			d.Observe(out, emit)
			d.Observe(back, emit)
		}
	})
	if n := result.AllocedBytesPerOp(); n > 2000 {
		t.Errorf("there and back takes %d bytes with 5000 threads away", n)
	}
}
