// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"fmt"

	"github.com/netns-trace/netns-trace/pkg/textprobe"
)

// watch attaches to one stage of sites: to the loads before them, and to those
// themselves that have none or where the kernel refused it.
func (l *ledger) watch(ctx context.Context, stage []*watchedSite) error {
	for len(stage) > 0 {
		targets := make([]textprobe.Target, 0, len(stage))
		for _, s := range stage {
			targets = append(targets, textprobe.Target{Addr: s.probe(), Module: s.Module})
		}
		if err := l.tell(stage); err != nil {
			return fmt.Errorf("telling the kernel of the reference sites: %w", err)
		}
		refused, err := l.probes.Attach(ctx, targets)
		if err != nil {
			return fmt.Errorf("attaching to the reference sites: %w", err)
		}
		stage = l.refuse(refused)
	}
	return nil
}

// tell lets the program know sites before they are probed.
func (l *ledger) tell(sites []*watchedSite) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, slot := range l.table.slots.freed {
		if err := l.object.maps[ledgerMapRefSites].Put(slot, wireSite{}); err != nil {
			return err
		}
	}
	l.table.slots.freed = nil
	for _, s := range sites {
		slot, ok := l.table.slots.take(s.probe())
		if !ok {
			return fmt.Errorf("no slot is free for %s", s.place())
		}
		if err := l.object.maps[ledgerMapRefSites].Put(slot, s.wire()); err != nil {
			return err
		}
	}
	return nil
}

// refuse takes in what the kernel refused, and returns the sites that can be probed
// themselves instead.
func (l *ledger) refuse(refused []textprobe.Refusal) []*watchedSite {
	l.mu.Lock()
	defer l.mu.Unlock()
	var again []*watchedSite
	for _, r := range refused {
		if w := l.table.refuse(r.Addr, r.Reason); w != nil {
			again = append(again, w)
			continue
		}
		l.partial = true
	}
	return again
}
