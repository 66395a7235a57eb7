// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/test/lab"
	"github.com/netns-trace/netns-trace/test/lab/agent"
)

// shell boots a kernel and connects this terminal to a shell in it.
func shell(ctx context.Context, args []string) (code int, err error) {
	m := newMachine("shell")
	if err := m.flags.Parse(args); err != nil {
		return 2, err
	}
	if m.flags.NArg() != 1 {
		return 2, errors.New("usage: lab shell [flags] KERNEL")
	}
	size, err := terminalSize()
	if err != nil {
		return 0, fmt.Errorf("lab shell needs a terminal: %w", err)
	}
	vm, err := m.boot(ctx, m.flags.Arg(0))
	if err != nil {
		return 0, err
	}
	defer m.finish(vm)
	restore, err := rawTerminal()
	if err != nil {
		return 0, err
	}
	defer restore()
	// A disk has bash or not; every guest has sh.
	p, err := vm.Start(ctx, lab.Command{
		Argv: []string{"sh", "-c", "command -v bash >/dev/null && exec bash -l; exec sh -l"},
		Env:  []string{"TERM=" + knownTerm(os.Getenv("TERM"))},
		Dir:  "/root", Stdin: os.Stdin, Stdout: os.Stdout, Terminal: &size,
	})
	if err != nil {
		return 0, err
	}
	stop := followSize(p)
	defer stop()
	return p.Wait()
}

// knownTerm is the terminal's name if the guest has a description of it.
func knownTerm(name string) string {
	switch name {
	case "linux", "xterm", "xterm-256color", "vt100", "screen", "screen-256color", "tmux-256color":
		return name
	}
	return "xterm"
}

func terminalSize() (agent.Size, error) {
	w, err := unix.IoctlGetWinsize(int(os.Stdin.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return agent.Size{}, err
	}
	if w.Row == 0 || w.Col == 0 { // such as a serial console, which does not know
		return agent.Size{Rows: 24, Columns: 80}, nil
	}
	return agent.Size{Rows: w.Row, Columns: w.Col}, nil
}

// rawTerminal hands every key to the guest, until restore is called.
func rawTerminal() (restore func(), err error) {
	fd := int(os.Stdin.Fd())
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("reading the terminal's mode: %w", err)
	}
	raw := *old
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return nil, fmt.Errorf("making the terminal raw: %w", err)
	}
	return func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, old) }, nil
}

// followSize tells the guest when the terminal's size changes, until stop is called.
func followSize(p *lab.Process) (stop func()) {
	changes := make(chan os.Signal, 1)
	signal.Notify(changes, syscall.SIGWINCH)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			case <-changes:
				if size, err := terminalSize(); err == nil {
					_ = p.Resize(size) // or the machine is gone, which Wait tells
				}
			}
		}
	}()
	return func() {
		signal.Stop(changes)
		close(quit)
		<-done
	}
}
