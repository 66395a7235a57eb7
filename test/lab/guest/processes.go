// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/test/lab/agent"
)

// processes are those that the host asked for. All children of process 1 are reaped
// here, in one place, orphans too; that is why os/exec, which waits for its own
// children, is not used.
type processes struct {
	out *agent.Writer

	mu    sync.Mutex
	byID  map[uint32]*process
	byPID map[int]*process
}

func newProcesses(out *agent.Writer) *processes {
	t := &processes{out: out, byID: map[uint32]*process{}, byPID: map[int]*process{}}
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	go func() { // lives as long as the machine
		for range children {
			t.reap()
		}
	}()
	return t
}

// handle obeys one frame. It must not wait for any process: all share the line.
func (t *processes) handle(f agent.Frame) error {
	switch f.Type {
	case agent.Ping:
		return t.out.Write(agent.Frame{Type: agent.Pong})
	case agent.Start:
		var spec agent.Spec
		if err := f.Decode(&spec); err != nil {
			return err
		}
		return t.start(f.ID, spec)
	}
	t.mu.Lock()
	p := t.byID[f.ID]
	t.mu.Unlock()
	if p == nil {
		return nil // it ended while the frame was on its way
	}
	switch f.Type {
	case agent.Stdin:
		if p.stdin != nil {
			return p.stdin.add(f.Payload)
		}
		return nil
	case agent.CloseStdin:
		if p.stdin != nil {
			p.stdin.end()
		}
		return nil
	case agent.AckOutput:
		n, err := f.Number()
		if err != nil {
			return err
		}
		p.window.Give(int(n))
		return nil
	case agent.Signal:
		if len(f.Payload) != 1 {
			return fmt.Errorf("a signal in %d bytes: %w", len(f.Payload), agent.ErrFrame)
		}
		t.signal(p, unix.Signal(f.Payload[0]))
		return nil
	case agent.Resize:
		size, err := f.Size()
		if err != nil {
			return err
		}
		return p.resize(size)
	}
	return fmt.Errorf("type %d from the host: %w", f.Type, agent.ErrFrame)
}

// start begins a process and tells the host.
func (t *processes) start(id uint32, spec agent.Spec) error {
	// Held across fork and registration, so that the reaper cannot meet the end of
	// a process that it does not know yet.
	t.mu.Lock()
	p, err := startProcess(id, spec, t.out)
	if err == nil {
		t.byID[id], t.byPID[p.pid] = p, p
	}
	t.mu.Unlock()
	if err != nil {
		return send(t.out, agent.Exited, id, agent.Exit{Error: err.Error()})
	}
	if err := t.out.Write(agent.Frame{Type: agent.Started, ID: id, Payload: agent.Number(uint32(p.pid))}); err != nil {
		return err
	}
	p.pump()
	close(p.running)
	return nil
}

// signal reaches the whole process group while its leader is not yet reaped, so
// that a number used again cannot be hit.
func (t *processes) signal(p *process, sig unix.Signal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byPID[p.pid] == p {
		_ = unix.Kill(-p.pid, sig) // no such group: it is ending, as asked
	}
}

// reap collects all children that have ended.
func (t *processes) reap() {
	for {
		var status unix.WaitStatus
		t.mu.Lock()
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		p := t.byPID[pid]
		if err == nil && pid > 0 {
			delete(t.byPID, pid)
		}
		t.mu.Unlock()
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if p == nil {
			continue // an orphan
		}
		exit := agent.Exit{Code: status.ExitStatus()}
		if status.Signaled() {
			exit = agent.Exit{Signal: int(status.Signal())}
		}
		go t.finish(p, exit)
	}
}

// finish reports the end of a process after the last of its output.
func (t *processes) finish(p *process, exit agent.Exit) {
	<-p.running // it may have ended before the host was told that it began
	p.drain()
	t.mu.Lock()
	delete(t.byID, p.id)
	t.mu.Unlock()
	// An error means that the line is broken, which serve finds out too.
	_ = send(t.out, agent.Exited, p.id, exit)
	p.close()
}
