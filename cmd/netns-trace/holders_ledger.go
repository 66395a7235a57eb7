// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/netns-trace/netns-trace/pkg/holders"
	"github.com/netns-trace/netns-trace/pkg/identity"
	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/trace"
	"github.com/netns-trace/netns-trace/pkg/userstack"
)

// joinLedger feeds what a netns-trace at work has counted of the devices, and the names
// in it. Without one, or when its ledger cannot be read, the search stands for itself.
func (o *holdersOptions) joinLedger(ctx context.Context, devices []*holders.Device, names *identity.Namer, feed func(record.Record)) {
	ledgers, sys, err := readLedger(ctx, devices)
	if err != nil {
		if !errors.Is(err, probe.ErrNoLedger) {
			say := o.output.speaker()
			say.printf("what another netns-trace has counted is left out: %v\n", err)
		}
		return
	}
	namer := trace.NewNamer(names, sys.kernel.Symbols, userstack.New(userstack.Options{}), false)
	for i := range ledgers {
		for _, name := range namer.Names(&ledgers[i]) {
			feed(name)
		}
		feed(&ledgers[i])
	}
}

func readLedger(ctx context.Context, devices []*holders.Device) ([]record.RefLedger, system, error) {
	sys, err := examine()
	if err != nil {
		return nil, sys, fmt.Errorf("%w: %w", probe.ErrNoLedger, err) // nor can there be one
	}
	other, err := probe.FindLedger(ctx, sys.kernel)
	if err != nil {
		return nil, sys, err
	}
	ledgers, err := other.RefLedgers(func(l *record.RefLedger) bool {
		return slices.ContainsFunc(devices, func(d *holders.Device) bool { return d.Addr == l.Dev })
	})
	return ledgers, sys, errors.Join(err, other.Close())
}
