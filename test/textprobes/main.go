// SPDX-License-Identifier: Apache-2.0

// Textprobes puts a counting program on every reference site of the running kernel,
// by stages, until it gets SIGINT or SIGTERM. At SIGUSR1 it looks again, as after a
// module was loaded or unloaded. It is for guests; it prints what it does, a line a
// step, with how long that took.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/cilium/ebpf/rlimit"

	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/refsite"
	"github.com/netns-trace/netns-trace/pkg/textprobe"
)

type options struct {
	noTracefs bool
	loads     bool
	unguarded bool
	first     int
	stage     int
	rounds    int
	most      int
}

func main() {
	var o options
	flag.BoolVar(&o.noTracefs, "no-tracefs", false, "perf events only")
	flag.BoolVar(&o.loads, "loads", false, "probe the load before a site where there is one")
	flag.BoolVar(&o.unguarded, "unguarded", false, "probe also where refsite says not to: may crash the kernel")
	flag.IntVar(&o.first, "first", 24, "addresses of the first stage")
	flag.IntVar(&o.stage, "stage", 1000, "addresses of each later stage")
	flag.IntVar(&o.rounds, "rounds", 0, "attach and close as often as this, then end")
	flag.IntVar(&o.most, "most", 4000, "addresses in all")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, o)
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "textprobes:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if err := rlimit.RemoveMemlock(); err != nil { // 5.10
		return err
	}
	hits, err := newCounter()
	if err != nil {
		return err
	}
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGUSR1)
	for range max(o.rounds, 1) {
		if err := round(ctx, o, hits, again); err != nil {
			return err
		}
	}
	return hits.tell()
}

// round opens a set, attaches, and closes it when it is told to.
func round(ctx context.Context, o options, hits counter, again <-chan os.Signal) error {
	began := time.Now()
	set, err := textprobe.Open(hits.program, textprobe.Options{NoTracefs: o.noTracefs})
	if err != nil {
		return err
	}
	said(began, "opened way=%q why=%v", set.Way(), set.WhyNotTracefs())
	err = attached(ctx, o, set, hits, again)
	began = time.Now()
	err = errors.Join(err, set.Close())
	said(began, "off")
	return err
}

// attached attaches, again at each signal, until ctx ends.
func attached(ctx context.Context, o options, set *textprobe.Set, hits counter, again <-chan os.Signal) error {
	var targets []textprobe.Target
	for {
		began := time.Now()
		for _, module := range unloaded(targets) {
			set.Forget(module)
			targets = slices.DeleteFunc(targets, func(t textprobe.Target) bool { return t.Module == module })
			said(began, "forgot module=%s", module)
		}
		// Where there is a probe the scan does not see the instruction any more.
		found, err := scan(ctx, o)
		if err != nil {
			return err
		}
		targets = append(targets, found...)
		if err := hits.expect(targets); err != nil {
			return err
		}
		if err := attach(ctx, o, set, targets); err != nil {
			return err
		}
		if o.rounds > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			n, told := set.Optimized()
			fmt.Printf("optimized=%d of=%d told=%v\n", n, len(targets), told)
			return nil
		case <-again:
		}
	}
}

func attach(ctx context.Context, o options, set *textprobe.Set, targets []textprobe.Target) error {
	began := time.Now()
	for size := o.first; len(targets) > 0; size = o.stage {
		stage := targets[:min(size, len(targets))]
		targets = targets[len(stage):]
		began := time.Now()
		refused, err := set.Attach(ctx, stage)
		if err != nil {
			said(began, "stopped: %v", err)
			return err
		}
		for _, r := range refused {
			fmt.Printf("refused addr=%#x module=%s: %v\n", r.Addr, r.Module, r.Reason)
		}
		said(began, "stage targets=%d", len(stage))
	}
	c := set.Counts()
	said(began, "ready attached=%d refused=%d stages=%d", c.Attached, c.Refused, c.Stages)
	return nil
}

// scan finds what to probe. What may not be probed is printed.
func scan(ctx context.Context, o options) ([]textprobe.Target, error) {
	began := time.Now()
	symbols, err := kernel.LoadSymbols()
	if err != nil {
		return nil, err
	}
	sites, err := refsite.Running(ctx, symbols, kernel.NewTypes())
	if err != nil {
		return nil, err
	}
	var targets []textprobe.Target
	for _, s := range sites {
		if s.Refused != "" && !o.unguarded {
			fmt.Printf("skipped %s+%#x module=%s: %s\n", s.Symbol, s.Offset, s.Module, s.Refused)
			continue
		}
		t := textprobe.Target{Addr: s.Addr, Module: s.Module}
		if o.loads && s.LoadAddr != 0 {
			t.Addr = s.LoadAddr
		}
		targets = append(targets, t)
	}
	said(began, "scanned sites=%d", len(targets))
	return targets[:min(o.most, len(targets))], nil
}

// unloaded returns the modules that targets are in and that are not loaded any more.
func unloaded(targets []textprobe.Target) []string {
	var modules []string
	for _, t := range targets {
		if t.Module == "" || slices.Contains(modules, t.Module) {
			continue
		}
		if _, err := os.Stat("/sys/module/" + t.Module); err != nil {
			modules = append(modules, t.Module)
		}
	}
	return modules
}

// said prints a line with how long it took.
func said(began time.Time, format string, args ...any) {
	fmt.Printf("%s ms=%d\n", fmt.Sprintf(format, args...), time.Since(began).Milliseconds())
}
