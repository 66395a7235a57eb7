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
