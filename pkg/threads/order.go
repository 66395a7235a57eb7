// SPDX-License-Identifier: Apache-2.0

package threads

import (
	"cmp"
	"maps"
	"slices"
)

// sorted gives the threads in the order of their tids, so that the same records
// give the same findings in the same order.
func (d *Detector) sorted() []*thread {
	if len(d.threads) == 0 {
		return nil
	}
	return slices.SortedFunc(maps.Values(d.threads), func(a, b *thread) int {
		return cmp.Compare(a.id.TID, b.id.TID)
	})
}
