// SPDX-License-Identifier: Apache-2.0

// Soak runs the service for long in a guest in which network namespaces come and go, with
// everything on, and prints how its memory grows, what it lost, what it took and what it
// found, which has to be nothing. With -flood it does each thing that is traced as fast
// as the guest can, and prints what the budget did about it.
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

	"github.com/netns-trace/netns-trace/test/lab"
)

func main() {
	kernel := flag.String("kernel", "6.12", "kernel to boot: one of the lab's matrix")
	lasts := flag.Duration("for", 30*time.Minute, "how long to go on")
	flooding := flag.Bool("flood", false, "flood each probe instead, with a budget")
	limit := flag.String("max-cpu", "5%", "the budget in floods")
	var only []string
	flag.Func("only", "of the floods only these: references, packets, devices, dst, netns; repeatable", func(kind string) error {
		if !slices.ContainsFunc(floods, func(f kindOfFlood) bool { return f.kind == kind }) {
			return errors.New("there is no such flood")
		}
		only = append(only, kind)
		return nil
	})
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *kernel, *lasts, *flooding, only, *limit); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, name string, lasts time.Duration, flooding bool, only []string, limit string) error {
	bench, err := lab.OpenWorkbench(ctx, name, os.Stderr)
	if err != nil {
		return err
	}
	settings := soakSettings
	if flooding {
		settings = noLimit
	}
	g, err := boot(ctx, bench, settings)
	if err != nil {
		return err
	}
	defer g.close()
	if flooding {
		err = flood(ctx, g, only, limit)
	} else {
		err = soak(ctx, g, lasts)
	}
	if complaints := g.vm.Complaints(); err == nil && len(complaints) > 0 {
		err = fmt.Errorf("the kernel complained: %s", complaints[0])
	}
	return err
}
