// SPDX-License-Identifier: Apache-2.0

package threads

import (
	"cmp"
	"maps"
	"slices"
)

// sorted gives the threads in the order of their tids, so that the same records
// give the same findings in the same order.
func sorted(threads map[uint32]*thread) []*thread {
	if len(threads) == 0 {
		return nil
	}
	return slices.SortedFunc(maps.Values(threads), func(a, b *thread) int {
		return cmp.Compare(a.id.TID, b.id.TID)
	})
}

// add takes up a thread that is away.
func (d *Detector) add(t *thread) {
	d.drop(t.id.TID)
	d.threads[t.id.TID] = t
	if t.origin != cloned {
		return
	}
	parent := t.parent.TID
	if d.clones[parent] == nil {
		d.clones[parent] = make(map[uint32]*thread)
	}
	d.clones[parent][t.id.TID] = t
}

// drop forgets a thread.
func (d *Detector) drop(tid uint32) {
	if t := d.threads[tid]; t != nil {
		delete(d.threads, tid)
		d.settled(t)
	}
}

// settled is for a clone that does not wait for its parent's way home.
func (d *Detector) settled(t *thread) {
	if t.origin != cloned {
		return
	}
	delete(d.clones[t.parent.TID], t.id.TID)
	if len(d.clones[t.parent.TID]) == 0 {
		delete(d.clones, t.parent.TID)
	}
}
