// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"testing"
	"time"
)

func TestHealth(t *testing.T) {
	var h Health
	expect := func(what string, ready, healthy bool) {
		t.Helper()
		if (h.Ready() == nil) != ready || (h.Healthy() == nil) != healthy {
			t.Errorf("%s: ready: %v, healthy: %v", what, h.Ready(), h.Healthy())
		}
	}
	expect("it starts", false, true)
	h.SetReady(true)
	h.Turned(time.Now())
	expect("it traces", true, true)
	h.Turned(time.Now().Add(-time.Minute))
	expect("it has not read for a minute", false, false)
	h.SetReady(false)
	expect("it ends", false, true)
}

func TestWatchdog(t *testing.T) {
	var w Watchdog
	looks := func(n int, turns uint64, tracing bool) (stuck bool) {
		for range n {
			stuck = w.Look(turns, tracing)
		}
		return stuck
	}
	switch {
	case looks(100, 0, false):
		t.Error("one that starts is stuck")
	case looks(6, 1, true):
		t.Error("it is stuck after 25 s")
	case !looks(1, 1, true):
		t.Error("it is not stuck after 30 s")
	case looks(1, 2, true):
		t.Error("it turned, and is stuck")
	case looks(100, 2, false):
		t.Error("one that ends is stuck")
	}
}
