// SPDX-License-Identifier: Apache-2.0

package userstack

import (
	"container/list"
	"sync"
)

// cache keeps the most recently used images within bounds of number and bytes.
type cache struct {
	maxFiles int
	maxBytes int64

	mu    sync.Mutex
	byKey map[fileKey]*list.Element
	order *list.List // most recent first, of *cached
	bytes int64
}

type cached struct {
	key   fileKey
	image *image
	bytes int64
}

func newCache(maxFiles int, maxBytes int64) *cache {
	return &cache{
		maxFiles: maxFiles, maxBytes: maxBytes,
		byKey: make(map[fileKey]*list.Element), order: list.New(),
	}
}

// get returns the image of a file, making it outside the lock when it is not
// there: two callers may make the same one, and the later stays.
func (c *cache) get(key fileKey, create func() *image) *image {
	c.mu.Lock()
	if e, ok := c.byKey[key]; ok {
		c.order.MoveToFront(e)
		c.mu.Unlock()
		return e.Value.(*cached).image
	}
	c.mu.Unlock()
	im := create()
	c.put(&cached{key: key, image: im, bytes: im.bytes()})
	return im
}

func (c *cache) put(n *cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[n.key]; ok {
		c.remove(e)
	}
	c.byKey[n.key] = c.order.PushFront(n)
	c.bytes += n.bytes
	for c.order.Len() > 0 && (c.order.Len() > c.maxFiles || c.bytes > c.maxBytes) {
		c.remove(c.order.Back())
	}
}

func (c *cache) remove(e *list.Element) {
	old := c.order.Remove(e).(*cached)
	delete(c.byKey, old.key)
	c.bytes -= old.bytes
}
