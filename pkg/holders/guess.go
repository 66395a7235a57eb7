// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"strings"

	"github.com/netns-trace/netns-trace/pkg/holders/memory"
)

// weighTypes finds the most likely type of an object.
func (id *identifier) weighTypes(o *object, cache *memory.Cache, queue bool, protocol *protocol) {
	sites := id.deviceAt
	if queue {
		sites = id.queueAt
	}
	best := *o
	best.score = -1e9
	second := 0.0 // the best score of another verdict
	any := false
	for _, site := range sites {
		name := id.types.Name(site.Type)
		size := uint64(id.types.Size(site.Type))
		if id.table.placed[name] {
			continue
		}
		offset := o.hit.Addr - o.start
		base := o.start
		if id.table.anywhere[name] {
			if offset < uint64(site.Offset) {
				continue
			}
			base = o.hit.Addr - uint64(site.Offset)
		} else if !site.At(uint32(offset), uint32(min(o.size, 1<<30))) {
			continue
		}
		if base+size > o.start+o.size {
			continue
		}
		score, ok := id.score(site.Type, base, uint32(o.hit.Addr-base))
		if !ok {
			continue
		}
		score += sizePrior(cache, size, base == o.start)
		if at := id.reached[o.start]; at == site.Type && (base-o.start)%max(size, 1) == 0 {
			score += reachedHit
		}
		if cache != nil && !cache.Merged && id.table.structs["cache:"+cache.Name] == name {
			score += ownCacheHit
		}
		if protocol != nil {
			score += either(size == protocol.size, reachedHit, objectMiss)
		}
		guess := *o
		guess.typ, guess.typed, guess.base, guess.score = site.Type, true, base, score
		id.rule(&guess)
		any = true
		switch {
		case score > best.score:
			if best.typed && best.verdict != guess.verdict {
				second = max(second, best.score)
			}
			best = guess
		case guess.verdict != best.verdict:
			second = max(second, score)
		}
	}
	if any && best.typed && (best.score < floor && best.verdict == unknown || best.score < floorListed) {
		o.where, o.score = "~"+best.where, best.score
		return
	}
	if any && best.typed {
		best.margin = best.score - second
		*o = best
	}
}

// sizePrior is how well a struct of a size fits a slab cache.
func sizePrior(cache *memory.Cache, size uint64, atStart bool) float64 {
	switch {
	case cache == nil || !atStart:
		return 0
	case strings.HasPrefix(cache.Name, "kmalloc-"):
		return either(size > smallerClass(uint64(cache.ObjectSize)), sizeFits, sizeDoesNot)
	}
	return either(size == uint64(cache.ObjectSize), sizeFits, sizeDoesNot)
}

// smallerClass is the next smaller size of kmalloc.
func smallerClass(size uint64) uint64 {
	switch size {
	case 96:
		return 64
	case 128:
		return 96
	case 192:
		return 128
	case 256:
		return 192
	}
	return size / 2
}
