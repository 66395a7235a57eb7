// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// interrupts decides what Ctrl-C does. The command in the guest gets the first, so
// that it can end in order and print what it has to say; a second one, or one when
// no command runs, ends the lab.
type interrupts struct {
	signals chan os.Signal
	done    chan struct{}

	mu      sync.Mutex
	forward func(syscall.Signal) error
}

// catchInterrupts returns a context that ends when the lab must. The caller must call
// stop.
func catchInterrupts() (ctx context.Context, in *interrupts, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	in = &interrupts{signals: make(chan os.Signal, 4), done: make(chan struct{})}
	signal.Notify(in.signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		defer close(in.done)
		for sig := range in.signals {
			if !in.pass(sig) {
				cancel()
			}
		}
	}()
	return ctx, in, func() {
		signal.Stop(in.signals)
		close(in.signals)
		<-in.done
		cancel()
	}
}

// passTo lets the next interrupt go to a command.
func (in *interrupts) passTo(forward func(syscall.Signal) error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.forward = forward
}

func (in *interrupts) pass(sig os.Signal) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	number, ok := sig.(syscall.Signal)
	if !ok || in.forward == nil {
		return false
	}
	forward := in.forward
	in.forward = nil
	return forward(number) == nil
}
