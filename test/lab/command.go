// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/netns-trace/netns-trace/test/lab/agent"
)

// killPatience is how long a killed process may take to be gone. A process stuck in
// the kernel never goes.
const killPatience = 20 * time.Second

// Command is a program to run in the guest.
type Command struct {
	Argv []string
	// Env is added to a plain environment with PATH, HOME and TERM.
	Env []string
	// Dir is the working directory; empty means /.
	Dir string
	// Stdin is what the program reads; nil means /dev/null.
	Stdin io.Reader
	// Stdout and Stderr get what the program writes; nil throws it away. They are
	// written to by one goroutine, in the order in which the output came.
	Stdout, Stderr io.Writer
	// Timeout, if not 0, is how long it may run before it is killed.
	Timeout time.Duration
	// Terminal, if not nil, gives the program a terminal of that size. Stderr then
	// gets nothing.
	Terminal *agent.Size
}

// Run runs a command and returns its exit code, or 128 plus the number of the signal
// that killed it. The error tells why the command could not be run to its end: it was
// not found, ctx ended or its time was up (and its process group is killed), or the
// guest died ([*GuestError]).
func (vm *VM) Run(ctx context.Context, command Command) (exit int, err error) {
	p, err := vm.Start(ctx, command)
	if err != nil {
		return -1, err
	}
	return p.Wait()
}

// Process is a command that was started.
type Process struct {
	vm      *VM
	id      uint32
	name    string
	command Command
	stop    context.CancelFunc
	stdin   *agent.Window
	started chan struct{} // closed when pid is set, or will not be
	pid     int           // 0 until then
	working sync.WaitGroup

	mu      sync.Mutex
	changed sync.Cond
	queue   []agent.Frame // output not yet written, bounded by its window
	last    bool          // nothing more comes
	done    chan struct{} // closed when exit and err are set
	exit    int
	err     error
}

// Start begins a command and returns when the guest has started it. Its process group
// is killed when ctx ends. Wait must be called.
func (vm *VM) Start(ctx context.Context, command Command) (*Process, error) {
	name := strings.Join(command.Argv, " ")
	spec, err := agent.Encode(agent.Spec{
		Argv: command.Argv, Env: command.Env, Dir: command.Dir,
		Stdin: command.Stdin != nil, Terminal: command.Terminal,
	})
	if err != nil {
		return nil, fmt.Errorf("running %q: %w", name, err)
	}
	p := &Process{
		vm: vm, name: name, command: command, stdin: agent.NewWindow(agent.StdinWindow),
		started: make(chan struct{}), done: make(chan struct{}),
	}
	p.changed.L = &p.mu
	ctx, p.stop = p.limit(ctx)
	if err := vm.register(p); err != nil {
		p.stop()
		return nil, fmt.Errorf("running %q: %w", name, err)
	}
	p.working.Go(p.deliver)
	p.working.Go(func() { p.guard(ctx) })
	if err := vm.out.Write(agent.Frame{Type: agent.Start, ID: p.id, Payload: spec}); err != nil {
		<-vm.dead // the line breaks only with the machine
	}
	<-p.started
	if p.pid == 0 {
		_, err := p.Wait()
		return nil, err
	}
	if command.Stdin != nil {
		// Not waited for: a reader that blocks cannot be interrupted.
		go p.feed()
	}
	return p, nil
}

// limit applies the command's own time limit to ctx.
func (p *Process) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if p.command.Timeout == 0 {
		return context.WithCancel(ctx)
	}
	cause := fmt.Errorf("did not end within %v: %w", p.command.Timeout, context.DeadlineExceeded)
	return context.WithTimeoutCause(ctx, p.command.Timeout, cause)
}

func (vm *VM) register(p *Process) error {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	if vm.processes == nil {
		return vm.err
	}
	vm.lastID++
	p.id = vm.lastID
	vm.processes[p.id] = p
	return nil
}

// PID is the process's number in the guest.
func (p *Process) PID() int { return p.pid }

// Signal sends a signal to the process group, like a terminal does. Signalling a
// process that has ended is no error.
func (p *Process) Signal(sig syscall.Signal) error {
	return p.send(agent.Signal, []byte{byte(sig)})
}

// Resize sets the size of the process's terminal.
func (p *Process) Resize(size agent.Size) error {
	return p.send(agent.Resize, agent.EncodeSize(size))
}

func (p *Process) send(kind agent.Type, payload []byte) error {
	if err := p.vm.out.Write(agent.Frame{Type: kind, ID: p.id, Payload: payload}); err != nil {
		return fmt.Errorf("reaching %q: %w", p.name, err)
	}
	return nil
}

// Wait waits until the process has ended and all its output is written, and returns
// what [VM.Run] does.
func (p *Process) Wait() (exit int, err error) {
	<-p.done
	p.stop()
	p.working.Wait()
	if p.err != nil {
		return -1, fmt.Errorf("running %q: %w", p.name, p.err)
	}
	return p.exit, nil
}

// take handles a frame about this process. It never waits.
func (p *Process) take(f agent.Frame) error {
	switch f.Type {
	case agent.Started:
		pid, err := f.Number()
		if err != nil {
			return err
		}
		p.begin(int(pid))
		return nil
	case agent.AckStdin:
		n, err := f.Number()
		if err != nil {
			return err
		}
		p.stdin.Give(int(n))
		return nil
	case agent.Stdout, agent.Stderr:
		p.mu.Lock()
		defer p.mu.Unlock()
		p.queue = append(p.queue, f)
		p.changed.Signal()
		return nil
	case agent.Exited:
		var exit agent.Exit
		if err := f.Decode(&exit); err != nil {
			return err
		}
		p.vm.mu.Lock()
		delete(p.vm.processes, p.id)
		p.vm.mu.Unlock()
		p.end(exit, nil)
		return nil
	}
	return fmt.Errorf("type %d from the guest: %w", f.Type, agent.ErrFrame)
}

// begin records the pid, or with 0 that there is none, the first time it is called.
func (p *Process) begin(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.started:
	default:
		p.pid = pid
		close(p.started)
	}
}

// end records how the process ended; deliver makes it known after the output.
func (p *Process) end(exit agent.Exit, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last {
		return
	}
	p.last = true
	switch {
	case p.err != nil: // why it was killed
	case err != nil:
		p.err = err
	case exit.Error != "":
		p.err = errors.New(exit.Error)
	case exit.Signal != 0:
		p.exit = 128 + exit.Signal
	default:
		p.exit = exit.Code
	}
	p.changed.Signal()
}

// abandon ends a process whose guest is gone or does not answer.
func (p *Process) abandon(err error) { p.end(agent.Exit{}, err) }

// deliver writes the output to its takers, and announces the end.
func (p *Process) deliver() {
	for {
		p.mu.Lock()
		for len(p.queue) == 0 && !p.last {
			p.changed.Wait()
		}
		frames := p.queue
		p.queue = nil
		p.mu.Unlock()
		if len(frames) == 0 {
			break
		}
		for _, f := range frames {
			to := p.command.Stdout
			if f.Type == agent.Stderr {
				to = p.command.Stderr
			}
			if to != nil {
				// A taker that fails loses its output; the process goes on.
				_, _ = to.Write(f.Payload)
			}
			// An error means that the machine is gone, which ends this too.
			_ = p.send(agent.AckOutput, agent.Number(uint32(len(f.Payload))))
		}
	}
	p.stdin.Close()
	p.begin(0)
	close(p.done)
}

// guard kills the process group when ctx ends first.
func (p *Process) guard(ctx context.Context) {
	select {
	case <-p.done:
		return
	case <-ctx.Done():
	}
	p.mu.Lock()
	if !p.last {
		p.err = context.Cause(ctx)
	}
	p.mu.Unlock()
	if p.Signal(syscall.SIGKILL) != nil {
		return // the machine is gone
	}
	select {
	case <-p.done:
	case <-time.After(killPatience):
		p.abandon(nil)
	}
}

// feed sends the input as the window allows.
func (p *Process) feed() {
	buf := make([]byte, agent.StdinWindow)
	for {
		n, err := p.command.Stdin.Read(buf)
		for data := buf[:n]; len(data) > 0; {
			size := p.stdin.Take(len(data))
			if size == 0 || p.send(agent.Stdin, data[:size]) != nil {
				return
			}
			data = data[size:]
		}
		if err != nil {
			_ = p.send(agent.CloseStdin, nil) // or the machine is gone
			return
		}
	}
}
