// SPDX-License-Identifier: Apache-2.0

package identity

// lru is a map of at most limit entries that drops the least recently used
// one. It has no lock: its owner holds one. Reading an entry allocates nothing.
type lru[K comparable, V any] struct {
	limit   int
	entries map[K]*lruNode[K, V]
	// ring closes the doubly linked list: ring.next is the most recently used.
	ring lruNode[K, V]
}

type lruNode[K comparable, V any] struct {
	prev, next *lruNode[K, V]
	key        K
	value      V
}

func newLRU[K comparable, V any](limit int) *lru[K, V] {
	l := &lru[K, V]{limit: limit, entries: make(map[K]*lruNode[K, V])}
	l.ring.prev, l.ring.next = &l.ring, &l.ring
	return l
}

// get returns the value of key, nil when there is none. The pointer is good
// until the next put or remove.
func (l *lru[K, V]) get(key K) *V {
	node := l.entries[key]
	if node == nil {
		return nil
	}
	l.unlink(node)
	l.linkFirst(node)
	return &node.value
}

func (l *lru[K, V]) put(key K, value V) {
	if old := l.get(key); old != nil {
		*old = value
		return
	}
	if len(l.entries) >= l.limit {
		oldest := l.ring.prev
		l.unlink(oldest)
		delete(l.entries, oldest.key)
	}
	node := &lruNode[K, V]{key: key, value: value}
	l.entries[key] = node
	l.linkFirst(node)
}

func (l *lru[K, V]) remove(key K) {
	if node := l.entries[key]; node != nil {
		l.unlink(node)
		delete(l.entries, key)
	}
}

func (l *lru[K, V]) unlink(node *lruNode[K, V]) {
	node.prev.next, node.next.prev = node.next, node.prev
}

func (l *lru[K, V]) linkFirst(node *lruNode[K, V]) {
	node.prev, node.next = &l.ring, l.ring.next
	node.prev.next, node.next.prev = node, node
}
