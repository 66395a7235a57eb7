// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/test/lab/agent"
)

// process is one running command of the host.
type process struct {
	id     uint32
	pid    int
	out    *agent.Writer
	window *agent.Window // of its output

	outputs []*output
	pumps   sync.WaitGroup

	terminal *os.File      // the master side, or nil
	stdin    *input        // or nil
	running  chan struct{} // closed when the streams are being carried
}

// startProcess forks and executes a command. The caller must call pump.
func startProcess(id uint32, spec agent.Spec, out *agent.Writer) (*process, error) {
	if len(spec.Argv) == 0 {
		return nil, errors.New("no command")
	}
	p := &process{id: id, out: out, window: agent.NewWindow(agent.OutputWindow), running: make(chan struct{})}
	path, err := spec.Argv[0], error(nil)
	if !strings.Contains(path, "/") {
		if path, err = exec.LookPath(path); err != nil {
			return nil, err
		}
	}
	attr := &syscall.ProcAttr{Dir: spec.Dir, Env: environment(spec.Env), Sys: &syscall.SysProcAttr{Setpgid: true}}
	if attr.Dir == "" {
		attr.Dir = "/"
	}
	var theirs []*os.File
	if spec.Terminal != nil {
		theirs, err = p.openTerminal(*spec.Terminal)
		attr.Sys = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	} else {
		theirs, err = p.openPipes(spec.Stdin)
	}
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
	}()
	if err == nil {
		for _, f := range theirs {
			attr.Files = append(attr.Files, f.Fd())
		}
		p.pid, err = syscall.ForkExec(path, spec.Argv, attr)
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("starting %s: %w", spec.Argv[0], err)
	}
	return p, nil
}

// environment is the agent's own, in which extra replaces what it names again: of
// two values for a name some programs take the first, some the last.
func environment(extra []string) []string {
	env := slices.Clone(extra)
	for _, entry := range []string{"PATH=" + os.Getenv("PATH"), "HOME=/root", "USER=root", "TERM=linux", "LANG=C.UTF-8"} {
		name, _, _ := strings.Cut(entry, "=")
		if !slices.ContainsFunc(extra, func(e string) bool { return strings.HasPrefix(e, name+"=") }) {
			env = append(env, entry)
		}
	}
	return env
}

// openPipes returns the process's ends of its three standard streams.
func (p *process) openPipes(stdin bool) (theirs []*os.File, err error) {
	in, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	if stdin {
		in.Close()
		read, write, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		in, p.stdin = read, newInput(write)
	}
	theirs = append(theirs, in)
	for _, kind := range []agent.Type{agent.Stdout, agent.Stderr} {
		read, write, err := os.Pipe()
		if err != nil {
			return theirs, err
		}
		theirs = append(theirs, write)
		p.outputs = append(p.outputs, &output{kind: kind, file: read})
	}
	return theirs, nil
}

// openTerminal makes a terminal and returns it as the process's three streams.
func (p *process) openTerminal(size agent.Size) (theirs []*os.File, err error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	p.terminal, p.stdin = master, newInput(master)
	p.outputs = append(p.outputs, &output{kind: agent.Stdout, file: master})
	conn, err := master.SyscallConn()
	if err != nil {
		return nil, err
	}
	number, failed := 0, error(nil)
	err = conn.Control(func(fd uintptr) {
		if failed = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); failed == nil {
			number, failed = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("making a terminal: %w", err)
	}
	if err := p.resize(size); err != nil {
		return nil, err
	}
	for range 3 {
		slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			return theirs, err
		}
		theirs = append(theirs, slave)
	}
	return theirs, nil
}

// resize sets the size of the terminal, if there is one.
func (p *process) resize(size agent.Size) error {
	if p.terminal == nil {
		return nil
	}
	conn, err := p.terminal.SyscallConn()
	if err != nil {
		return err
	}
	failed := error(nil)
	err = conn.Control(func(fd uintptr) {
		failed = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Columns})
	})
	if errors.Is(err, fs.ErrClosed) {
		return nil // it ended meanwhile
	}
	return errors.Join(err, failed)
}

// pump begins to carry the streams.
func (p *process) pump() {
	for _, o := range p.outputs {
		p.pumps.Go(func() { o.pump(p) })
	}
	if p.stdin != nil {
		go p.pumpInput() // until close
	}
}

func (p *process) pumpInput() {
	p.stdin.pump(func(n int) error {
		return p.out.Write(agent.Frame{Type: agent.AckStdin, ID: p.id, Payload: agent.Number(uint32(n))})
	})
	// A terminal is one file for both directions, and stays open.
	if p.terminal == nil {
		p.stdin.file.Close()
	}
}

// drain waits until all that the process wrote is sent. Its descendants may live on
// and hold its streams; what they write later is thrown away.
func (p *process) drain() {
	patience := time.Duration(0)
	if p.terminal != nil {
		// A terminal passes its output on in the background, and hangs up when its
		// session's leader ends: wait for that.
		patience = 2 * time.Second
	}
	for _, o := range p.outputs {
		o.processEnded(patience)
	}
	p.pumps.Wait()
}

// close gives back what the process used. Pipes that a descendant still holds are
// read on, so that it does not block or die of writing.
func (p *process) close() {
	p.window.Close()
	if p.stdin != nil {
		p.stdin.abandon()
		// A descendant may keep the other end without reading; closing ends a
		// pump that is stuck in writing.
		p.stdin.file.Close()
	}
	for _, o := range p.outputs {
		if p.terminal == nil && o.open {
			go o.discard()
		} else {
			o.file.Close()
		}
	}
}
