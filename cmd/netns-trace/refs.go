// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/identity"
	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/refs"
	"github.com/netns-trace/netns-trace/pkg/report"
	"github.com/netns-trace/netns-trace/pkg/trace"
	"github.com/netns-trace/netns-trace/pkg/userstack"
)

// statementOptions are the flags of the command refs.
type statementOptions struct {
	devices  []string // names; none: all
	duration time.Duration
	format   string
	json     bool
	verbose  bool
	hotSites bool
	rawAddrs bool
	fresh    bool
	room     uint32
}

func newRefsCommand() *cobra.Command {
	var o statementOptions
	cmd := &cobra.Command{
		Use:   "refs [flags] [DEVICE...]",
		Short: "Print who took and dropped the references of devices, healthy ones too",
		Long: `refs prints a statement of references, like a bank's: for each device how many
references it has, how many were taken and dropped since counting began, and what
for, with call traces.

While another netns-trace counts references ("netns-trace", or "netns-trace --only
refs"), its ledger is printed at once. Otherwise, or with --fresh, counting begins
now and the statement is printed at Ctrl-C or after --duration.`,
		Example: `  sudo netns-trace refs                            what a running netns-trace has counted
  sudo netns-trace refs veth1 --verbose            one device, with whole call traces
  sudo netns-trace refs --fresh --duration 1m      count for a minute
  sudo netns-trace refs --format balance veth1     as kernel developers read it`,
		Args: func(_ *cobra.Command, args []string) error {
			o.devices = args
			return o.check()
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.DurationVarP(&o.duration, "duration", "d", 0, "count for this time (default: until Ctrl-C)")
	f.BoolVar(&o.fresh, "fresh", false, "begin to count now, also if another netns-trace counts already")
	f.StringVar(&o.format, "format", formText, "text, json (one device a line), ref_tracker or balance (as kernel developers read it)")
	f.BoolVar(&o.json, "json", false, "the same as --format json")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print whole call traces, and all of them")
	f.BoolVar(&o.hotSites, "hot-sites", false, "count also the references that are taken and dropped for every packet (tun, IPsec, nlmon)")
	f.BoolVar(&o.rawAddrs, "raw-addresses", false, "print kernel addresses beside the symbols of call traces")
	f.Uint32Var(&o.room, "devices", 2048, "count the references of up to `N` devices; each takes about 8 KB of kernel memory")
	return cmd
}

const (
	formText = "text"
	formJSON = "json"
)

func forms() []string {
	return []string{formText, formJSON, string(report.RefTracker), string(report.Balance)}
}

func (o *statementOptions) check() error {
	if o.json {
		o.format = formJSON
	}
	switch {
	case !slices.Contains(forms(), o.format):
		return usagef("--format is %s, not %q", strings.Join(forms(), ", "), o.format)
	case o.duration < 0:
		return usagef("--duration cannot be negative, got %s", o.duration)
	case o.room < 1 || o.room > 1<<20:
		return usagef("--devices must be from 1 to %d, got %d", 1<<20, o.room)
	}
	return nil
}

func (o *statementOptions) run(ctx context.Context) error {
	sys, err := examine()
	if err != nil {
		return err
	}
	if !o.fresh {
		other, err := probe.FindLedger(ctx, sys.kernel)
		if err == nil {
			ledgers, err := other.RefLedgers(o.wants)
			return errors.Join(err, o.print(ledgers, sys), other.Close())
		}
		if !errors.Is(err, probe.ErrNoLedger) {
			return err
		}
	}
	return o.count(ctx, sys)
}

// count counts for a while.
func (o *statementOptions) count(ctx context.Context, sys system) error {
	say := speaker{os.Stderr}
	session, err := probe.Open(ctx, sys.kernel, probe.Options{
		Detectors: []string{probe.DetectorRefs}, Required: []string{probe.DetectorRefs}, Names: true,
		RingBytes: 1 << 16,
		Refs: probe.RefsOptions{NoObjects: true, Ledger: probe.LedgerOptions{
			Required: true, Devices: o.room, Hot: o.hotSites, Progress: say.progress("attaching to reference sites"),
		}},
	})
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted before anything was counted")
		}
		return explain(err)
	}
	if o.duration > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, o.duration)
		defer stop()
	}
	say.printf("no other netns-trace counts references: counting; Ctrl-C prints the statement\n")
	<-ctx.Done()
	ledgers, err := session.RefLedgers(o.wants)
	return errors.Join(err, o.print(ledgers, sys), session.Close())
}

func (o *statementOptions) wants(l *record.RefLedger) bool {
	return len(o.devices) == 0 || slices.Contains(o.devices, l.Name)
}

func (o *statementOptions) print(ledgers []record.RefLedger, sys system) error {
	known := new(finding.Knowledge)
	namer := trace.NewNamer(identity.New(""), sys.kernel.Symbols, userstack.New(userstack.Options{}), o.rawAddrs)
	known.Observe(probe.Clock())
	setup := &record.Setup{Time: record.Time(probe.Now())}
	if base := sys.refcountBase(); base.Err == nil {
		setup.RefcountBase, setup.RefcountBaseKnown = int32(base.Value.Base), true
	}
	known.Observe(setup)
	out := o.writer()
	missing := slices.Clone(o.devices)
	for i := range ledgers {
		l := &ledgers[i]
		for _, name := range namer.Names(l) {
			known.Observe(name)
		}
		s := refs.NewStatement(known, l)
		if err := out.Statement(&s); err != nil {
			return err
		}
		missing = slices.DeleteFunc(missing, func(name string) bool { return name == l.Name })
	}
	if len(missing) > 0 {
		return fmt.Errorf("no reference of %s was taken or dropped since counting began", strings.Join(missing, ", "))
	}
	return nil
}

func (o *statementOptions) writer() report.StatementWriter {
	switch o.format {
	case formJSON:
		return report.JSON{W: os.Stdout}
	case string(report.RefTracker), string(report.Balance):
		return report.Forms{W: os.Stdout, Form: report.Form(o.format)}
	}
	color := term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return report.Text{W: os.Stdout, Color: color, Verbose: o.verbose}
}
