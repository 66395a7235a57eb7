// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// stuckAfter is how long tracing may go without a turn, which it makes every second.
const stuckAfter = 30 * time.Second

// Health is whether the service does its work. It can be used from any goroutine;
// its zero value is that of one that starts.
type Health struct {
	ready  atomic.Bool
	turned atomic.Pointer[time.Time]
	turns  atomic.Uint64
}

// SetReady says whether everything is attached.
func (h *Health) SetReady(ready bool) { h.ready.Store(ready) }

// Turned says that records are being read.
func (h *Health) Turned(now time.Time) {
	h.turned.Store(&now)
	h.turns.Add(1)
}

// Turns is how often Turned was called, and whether everything is attached.
func (h *Health) Turns() (turns uint64, ready bool) { return h.turns.Load(), h.ready.Load() }

// Ready tells why it is not.
func (h *Health) Ready() error {
	if !h.ready.Load() {
		return errors.New("not everything is attached")
	}
	return h.Healthy()
}

// Healthy tells why it is not. One that starts is.
func (h *Health) Healthy() error {
	last := h.turned.Load()
	if last == nil || !h.ready.Load() {
		return nil
	}
	if silent := time.Since(*last); silent > stuckAfter {
		return fmt.Errorf("no record was looked for since %s", silent.Round(time.Second))
	}
	return nil
}
