// SPDX-License-Identifier: Apache-2.0

package monitor

import "time"

// WatchdogEvery is how often a Watchdog is to be asked.
const WatchdogEvery = 5 * time.Second

// Watchdog notices that tracing makes no turns while the rest of the process goes on.
// It counts looks, not time: when the whole process or machine was stopped, that is
// one look.
type Watchdog struct {
	turns uint64
	same  int // looks in a row
}

// Look takes in how many turns there have been, and reports whether there was none
// for 30 seconds. One that has not begun, or is ending, is not looked at.
func (w *Watchdog) Look(turns uint64, tracing bool) bool {
	if !tracing || turns != w.turns {
		w.turns, w.same = turns, 0
		return false
	}
	w.same++
	return w.same >= int(stuckAfter/WatchdogEvery)
}
