// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// A pair is one veth pair between the host and a namespace, over and over.
type pair struct {
	number  int
	home    int // file descriptor of the host's namespace
	packets int
	done    *counts
}

func (p pair) netns() string    { return fmt.Sprintf("churn%d", p.number) }
func (p pair) outer() string    { return fmt.Sprintf("cho%d", p.number) }
func (p pair) inner() string    { return fmt.Sprintf("chi%d", p.number) }
func (p pair) outerIP() string  { return fmt.Sprintf("10.201.%d.1", p.number) }
func (p pair) innerIP() string  { return fmt.Sprintf("10.201.%d.2", p.number) }
func (p pair) outerIP6() string { return fmt.Sprintf("fd00:c:%x::1", p.number) }
func (p pair) innerIP6() string { return fmt.Sprintf("fd00:c:%x::2", p.number) }

// churn repeats rounds until ctx ends. The last one is finished and cleaned up.
func (p pair) churn(ctx context.Context) error {
	// One that was killed leaves its namespace behind, with or without the veth pair.
	if _, err := os.Stat("/run/netns/" + p.netns()); err == nil {
		_ = p.ip("link del", p.outer())
		if err := p.ip("netns del", p.netns()); err != nil {
			return fmt.Errorf("pair %d: removing what an earlier one left: %w", p.number, err)
		}
	}
	for ctx.Err() == nil {
		if err := p.round(); err != nil {
			return fmt.Errorf("pair %d: %w", p.number, err)
		}
		p.done.rounds.Add(1)
	}
	return nil
}

// round lives a container's life. Errors of the removal count only when all before
// it went well.
func (p pair) round() (err error) {
	defer func() {
		if removed := p.remove(); err == nil {
			err = removed
		}
	}()
	if err := p.build(); err != nil {
		return err
	}
	if err := p.talk(); err != nil {
		return err
	}
	// A child in the namespace, forked from the host.
	return p.ip("netns exec", p.netns(), "ip -o link show", p.inner())
}

// build uses the real ip: it forks, and its own setns is part of a busy host.
func (p pair) build() error {
	steps := [][]string{
		{"netns add", p.netns()},
		{"link add", p.outer(), "type veth peer name", p.inner()},
		{"link set", p.inner(), "netns", p.netns()},
		{"addr add", p.outerIP() + "/30 dev", p.outer()},
		{"addr add", p.outerIP6() + "/64 dev", p.outer(), "nodad"},
		{"link set", p.outer(), "up"},
		{"-n", p.netns(), "addr add", p.innerIP() + "/30 dev", p.inner()},
		{"-n", p.netns(), "addr add", p.innerIP6() + "/64 dev", p.inner(), "nodad"},
		{"-n", p.netns(), "link set lo up"},
		{"-n", p.netns(), "link set", p.inner(), "up"},
		{"-n", p.netns(), "route add default via", p.outerIP()},
	}
	for _, step := range steps {
		if err := p.ip(step...); err != nil {
			return err
		}
	}
	return nil
}

func (p pair) remove() error {
	link := p.ip("link del", p.outer())
	netns := p.ip("netns del", p.netns())
	if link != nil {
		return link
	}
	return netns
}

// ip runs iproute2 with words that are split at spaces, so that calls read like the
// command line.
func (p pair) ip(words ...string) error {
	args := strings.Fields(strings.Join(words, " "))
	p.done.forks.Add(1)
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// inside runs work in the pair's namespace, the right way: the goroutine keeps its
// thread until the thread is home again, and gives it up only then.
func (p pair) inside(work func() error) error {
	away, err := os.Open("/run/netns/" + p.netns())
	if err != nil {
		return fmt.Errorf("opening the namespace: %w", err)
	}
	defer away.Close()
	p.done.windows.Add(1)

	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(away.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			result <- fmt.Errorf("entering the namespace: %w", err)
			return
		}
		err := work()
		if back := unix.Setns(p.home, unix.CLONE_NEWNET); back != nil {
			// Still locked: the runtime ends this thread with the goroutine.
			result <- fmt.Errorf("going home: %w", back)
			return
		}
		runtime.UnlockOSThread()
		result <- err
	}()
	return <-result
}
