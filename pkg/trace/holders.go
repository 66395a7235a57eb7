// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"context"
	"time"

	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/record"
)

const (
	// holdersAgain is how often the holders of devices that go on waiting are looked
	// at anew though their count is the same: a scan goes through the whole table, in
	// the kernel.
	holdersAgain = 10 * time.Second
	// holdersEvery bounds how often devices that newly wait, or whose count is another,
	// may ask for a scan.
	holdersEvery = 250 * time.Millisecond
	// knownMax bounds what is remembered where the end of devices is not seen.
	knownMax = 16384
)

// holders says when the kernel is to be asked what holds the devices that wait.
type holders struct {
	known   map[uint64]int32 // devices that were scanned for, with their usage count then
	due     bool
	scanned time.Time
}

func (h *holders) observe(rec record.Record) {
	switch r := rec.(type) {
	case *record.DevWait:
		if h.known == nil || len(h.known) >= knownMax {
			h.known = make(map[uint64]int32)
		}
		// The kernel tells the count once a second: what let go is asked for then.
		if count, ok := h.known[r.Dev]; !ok || count != r.Refcount || time.Since(h.scanned) >= holdersAgain {
			h.known[r.Dev], h.due = r.Refcount, true
		}
	case *record.DevFree:
		delete(h.known, r.Dev)
	}
}

// lookAtHolders feeds what holds the devices that wait, if that is due.
func (l *Live) lookAtHolders(ctx context.Context) error {
	if !l.holders.due || time.Since(l.holders.scanned) < holdersEvery {
		return nil
	}
	l.holders.due, l.holders.scanned = false, time.Now()
	started := record.Time(probe.Now())
	holders, scan, err := l.session.ScanHolders()
	if err != nil {
		return err
	}
	ledgers, err := l.session.RefLedgers(func(r *record.RefLedger) bool { _, waits := l.holders.known[r.Dev]; return waits })
	if err != nil {
		return err
	}
	if scan == nil {
		scan = &record.HolderScan{Time: record.Time(probe.Now()), Started: uint64(started)}
	}
	// A device that was freed meanwhile is told to be so before anything holds it.
	if err := l.Drain(ctx); err != nil {
		return err
	}
	for i := range holders {
		l.feed(&holders[i])
	}
	for i := range ledgers {
		l.feed(&ledgers[i])
	}
	l.feed(scan)
	return nil
}
