// SPDX-License-Identifier: Apache-2.0

// Command churn is a healthy and busy host: network namespaces, veth pairs, traffic,
// forks and correct setns windows, made and removed again and again. Nothing it does
// is a fault, so nothing it does may be reported.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "churn:", err)
		os.Exit(1)
	}
}

func run() error {
	pairs := flag.Int("pairs", 4, "veth pairs, each with a namespace of its own, at the same time")
	runFor := flag.Duration("for", 30*time.Second, "how long to go on")
	packets := flag.Int("packets", 50, "UDP and TCP messages each way through a pair before it is removed")
	flag.Parse()
	if *pairs < 1 || *pairs > 250 || flag.NArg() != 0 {
		return errors.New("wants 1 to 250 pairs and no arguments")
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	ctx, cancelTime := context.WithTimeout(ctx, *runFor)
	defer cancelTime()

	home, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return fmt.Errorf("opening the home namespace: %w", err)
	}
	defer home.Close()

	var done counts
	errs := make([]error, *pairs)
	var workers sync.WaitGroup
	for i := range *pairs {
		workers.Go(func() {
			p := pair{number: i + 1, home: int(home.Fd()), packets: *packets, done: &done}
			errs[i] = p.churn(ctx)
		})
	}
	workers.Wait()
	fmt.Printf("rounds=%d windows=%d forks=%d messages=%d\n",
		done.rounds.Load(), done.windows.Load(), done.forks.Load(), done.messages.Load())
	return errors.Join(errs...)
}

// counts is what was done, for the last line.
type counts struct {
	rounds, windows, forks, messages atomic.Int64
}
