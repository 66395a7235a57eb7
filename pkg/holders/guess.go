// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"cmp"
	"slices"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/holders/memory"
	"github.com/netns-trace/netns-trace/pkg/holders/structs"
)

// candidate is a place where a struct may have a pointer to a device.
type candidate struct {
	structs.Site
	name     string // of the struct
	size     uint64
	anywhere bool // the struct lies in arrays, or in others
}

// candidates are the structs at sites, but for those that are known by where they are.
func (id *identifier) candidates(sites []structs.Site) []candidate {
	var list []candidate
	for _, site := range sites {
		name := id.types.Name(site.Type)
		if !id.table.placed[name] {
			list = append(list, candidate{site, name, uint64(id.types.Size(site.Type)), id.table.anywhere[name]})
		}
	}
	return list
}

// baseIn is where the struct begins if an object's pointer is this site of it.
func (c *candidate) baseIn(o *object) (uint64, bool) {
	offset := o.hit.Addr - o.start
	base := o.start
	switch {
	case c.anywhere && offset < uint64(c.Offset):
		return 0, false
	case c.anywhere:
		base = o.hit.Addr - uint64(c.Offset)
	case !c.At(uint32(offset), uint32(min(o.size, 1<<30))):
		return 0, false
	}
	return base, base+c.size <= o.start+o.size
}

// weighTypes finds the most likely type of an object.
func (id *identifier) weighTypes(o *object, cache *memory.Cache, queue bool, protocol *protocol) {
	candidates := id.deviceAt
	if queue {
		candidates = id.queueAt
	}
	var guesses []object
	for i := range candidates {
		c := &candidates[i]
		base, ok := c.baseIn(o)
		if !ok {
			continue
		}
		score, ok := id.score(c.Type, base, uint32(o.hit.Addr-base))
		if !ok {
			continue
		}
		score += sizePrior(cache, c.size, base == o.start)
		if at := id.reached[o.start]; at == c.Type && (base-o.start)%max(c.size, 1) == 0 {
			score += reachedHit
		}
		if cache != nil && !cache.Merged && id.table.structs["cache:"+cache.Name] == c.name {
			score += ownCacheHit
		}
		if protocol != nil {
			score += either(c.size == protocol.size, reachedHit, objectMiss)
		}
		guess := *o
		guess.typ, guess.typed, guess.base, guess.score = c.Type, true, base, score
		guesses = append(guesses, guess)
	}
	if len(guesses) == 0 {
		return
	}
	slices.SortStableFunc(guesses, func(a, b object) int { return cmp.Compare(b.score, a.score) })
	best := guesses[0]
	id.rule(&best)
	if best.score < floor && best.verdict == unknown || best.score < floorListed {
		o.where, o.score = "~"+best.where, best.score
		return
	}
	// What else it may be matters as far as that would be another verdict.
	second := 0.0
	for _, guess := range guesses[1:] {
		if guess.score <= second {
			break
		}
		if id.rule(&guess); guess.verdict != best.verdict {
			second = guess.score
		}
	}
	best.margin = best.score - second
	*o = best
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
