// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/netns-trace/netns-trace/pkg/crash"
	"github.com/netns-trace/netns-trace/pkg/holders"
	"github.com/netns-trace/netns-trace/pkg/identity"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/vmcore"
)

// runDump searches the memory of a machine that crashed.
func (o *holdersOptions) runDump(ctx context.Context, args []string) error {
	dump, err := holders.OpenDump(ctx, o.core, o.symbols)
	if err != nil {
		return o.explainDump(ctx, err)
	}
	defer dump.Close()
	say := o.output.speaker()
	say.printf("crash dump of Linux %s, %s\n", dump.Release, whenWords(dump.Clock.When))
	if dump.ModulesMissing {
		say.printf("symbols or types of modules are not all in the dump: what modules have is recognised worse\n")
	}
	names := dumpNames{}
	if host, ok := dump.InitialNetns(); ok {
		names.host = host
	}
	clock := clockOf(dump.Clock)
	return o.find(ctx, &subject{
		searchable: dump, names: &names, clock: clock, now: func() uint64 { return uint64(clock.Time) }, nameOf: names.of,
	}, args)
}

func whenWords(when time.Time) string {
	if when.IsZero() {
		return "of a time that it does not tell"
	}
	return "of " + when.UTC().Format("2006-01-02 15:04:05") + " UTC"
}

// explainDump adds what to do about a dump that cannot be searched.
func (o *holdersOptions) explainDump(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted before the search began")
	case errors.Is(err, crash.ErrNoSymbols):
		return fmt.Errorf("%w (none before 6.0 does): give --symbols the System.map of that kernel, a saved /proc/kallsyms, "+
			"or its vmlinux with symbols, which a package of debug symbols has", err)
	case errors.Is(err, vmcore.ErrNoInfo):
		return fmt.Errorf("%w: is it of a Linux kernel, with CONFIG_CRASH_CORE or CONFIG_VMCORE_INFO?", err)
	}
	return err
}

// clockOf has all findings be of the time of the crash.
func clockOf(c crash.Clock) *record.Clock {
	when := c.When
	if when.IsZero() {
		when = time.Now()
	}
	return &record.Clock{Time: record.Time(c.Boottime), Realtime: when.UnixNano(), Boottime: uint64(c.Boottime)}
}

// dumpNames names the namespaces of a machine that crashed: all but its own have inode
// numbers only. The names that people give are files of the machine.
type dumpNames struct {
	host record.NetnsID
	told bool
}

// Host implements netnsNames.
func (n *dumpNames) Host() uint32 { return n.host.Inode }

// Netns implements netnsNames.
func (n *dumpNames) Netns(uint32, ...int) (identity.Netns, bool) { return identity.Netns{}, false }

// of names the machine's own namespace, before the first record.
func (n *dumpNames) of(record.Record) []record.Record {
	if n.told || n.host.Inode == 0 {
		return nil
	}
	n.told = true
	return []record.Record{&record.NetnsName{Netns: n.host, Name: identity.FromHost}}
}
