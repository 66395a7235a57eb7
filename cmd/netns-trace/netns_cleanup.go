// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/refs"
	"github.com/netns-trace/netns-trace/pkg/trace"
)

const (
	// cleanupWatch is how long a namespace that is no longer alive is watched: the
	// kernel speaks of a device that its cleanup waits for once a second.
	cleanupWatch = 3 * time.Second
	// cleanupRing is the buffer for that: a record a second for each such device.
	cleanupRing = 1 << 16
)

// cleanup tells which devices of a namespace its cleanup waits for, if it has begun
// and not ended. Nothing refers to such a namespace any more.
func (p *pinsRun) cleanup(ctx context.Context, sys system, namer *trace.Namer, inode uint32) error {
	session, err := probe.Open(ctx, sys.kernel, probe.Options{
		Detectors: []string{probe.DetectorRefs}, Required: []string{probe.DetectorRefs},
		Avoid: p.avoid, RingBytes: cleanupRing,
		// It is about what is held already, for a moment.
		Refs: probe.RefsOptions{Ledger: probe.LedgerOptions{Off: true}},
	})
	if err != nil {
		return explain(err)
	}
	plan := session.Plan()
	setup := &record.Setup{
		Time: record.Time(probe.Now()), SeesFree: plan.SeesFree(), ScansHolders: plan.ScansHolders(),
		HoldersByKprobe: plan.HoldersByKprobe(),
	}
	if base := sys.refcountBase(); base.Err == nil {
		setup.RefcountBase, setup.RefcountBaseKnown = int32(base.Value.Base), true
	}
	engine := trace.NewEngine(p.known, func(f *finding.Finding) {
		if f.Netns != nil && f.Netns.Inode == inode && f.State == finding.Opened {
			p.found(f)
		}
	}, refs.New(p.known))
	live := trace.NewLive(session, namer, engine, probe.Clock(), setup)
	ctx, stop := context.WithTimeout(ctx, cleanupWatch)
	defer stop()
	return errors.Join(live.Run(ctx, nil), session.Close())
}
