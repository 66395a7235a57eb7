// SPDX-License-Identifier: Apache-2.0

package agent

import "sync"

// Window counts what may still be sent of a stream.
type Window struct {
	mu     sync.Mutex
	cond   sync.Cond
	free   int
	closed bool
}

// NewWindow returns a window of size bytes.
func NewWindow(size int) *Window {
	w := &Window{free: size}
	w.cond.L = &w.mu
	return w
}

// Take waits until something may be sent and returns how much of want, or 0 when
// the window was closed.
func (w *Window) Take(want int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.free <= 0 && !w.closed {
		w.cond.Wait()
	}
	if w.closed {
		return 0
	}
	n := min(want, w.free)
	w.free -= n
	return n
}

// Give returns n acknowledged bytes to the window.
func (w *Window) Give(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.free += n
	w.cond.Broadcast()
}

// Close lets every Take return 0, now and later.
func (w *Window) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.cond.Broadcast()
}
