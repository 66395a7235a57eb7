// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netns-trace/netns-trace/test/lab/agent"
)

// DefaultHangLimit is how long a guest may be silent before it counts as hanging.
// It is generous: the host may be busy.
const DefaultHangLimit = 120 * time.Second

// Config describes a virtual machine.
type Config struct {
	Cache  Cache
	Kernel Kernel
	// MemoryMiB is the size of its memory in MiB; 0 means 1024.
	MemoryMiB int
	// CPUs is the number of its processors; 0 means 2.
	CPUs int
	// Files maps paths in the guest to files or directories of the host.
	Files map[string]string
	// Modules are loaded at boot, by name or alias. Others are loaded when the
	// kernel asks for them.
	Modules []string
	// Disk is the path of an ext4 image to take as the root. It is not changed: all
	// writes are lost with the machine. The initramfs is then at /lab.
	Disk string
	// Append is added to the kernel's command line.
	Append string
	// Icount makes time a count of executed instructions, with one processor, for
	// measuring. See [qemuArgs].
	Icount bool
	// Dumps has [VM.Dump] work.
	Dumps bool
	// ConsoleLog is a file that gets everything the kernel prints; may be empty.
	ConsoleLog string
	// HangLimit is how long the guest may be silent; 0 means [DefaultHangLimit].
	HangLimit time.Duration
}

func (c Config) withDefaults() Config {
	if c.MemoryMiB == 0 {
		c.MemoryMiB = 1024
	}
	if c.CPUs == 0 {
		c.CPUs = 2
	}
	if c.HangLimit == 0 {
		c.HangLimit = DefaultHangLimit
	}
	return c
}

// VM is a running virtual machine. Its methods may be called from any goroutine.
type VM struct {
	config   Config
	dir      string
	qemu     *qemu
	console  *console
	log      *os.File
	out      *agent.Writer
	greeting agent.Greeting
	hello    chan struct{} // closed when greeting is set
	heard    atomic.Int64  // when the last frame came, in Unix nanoseconds
	cancel   context.CancelCauseFunc
	working  sync.WaitGroup

	dumping    sync.Mutex // held while the monitor is spoken to
	negotiated bool       // that the monitor takes commands; guarded by dumping

	mu        sync.Mutex
	lastID    uint32
	processes map[uint32]*Process
	dead      chan struct{} // closed when err is set
	err       error
}

// Boot starts a virtual machine and waits until it takes commands. The machine is
// killed when ctx ends, when Close is called, and when this process dies. A guest
// that dies or hangs gives a [*GuestError].
func Boot(ctx context.Context, config Config) (*VM, error) {
	config = config.withDefaults()
	dir, err := os.MkdirTemp("", "netns-trace-lab-*")
	if err != nil {
		return nil, fmt.Errorf("booting kernel %s: %w", config.Kernel, err)
	}
	vm := &VM{
		config: config, dir: dir, console: &console{}, hello: make(chan struct{}),
		processes: map[uint32]*Process{}, dead: make(chan struct{}),
	}
	if err := vm.start(ctx); err != nil {
		vm.cleanup()
		return nil, fmt.Errorf("booting kernel %s: %w", config.Kernel, err)
	}
	select {
	case <-vm.hello:
		// The emulator has read it: what is gone now cannot be left behind.
		_ = os.RemoveAll(dir)
		return vm, nil
	case <-vm.dead:
		vm.Close()
		return nil, fmt.Errorf("booting: %w", vm.err)
	}
}

func (vm *VM) start(ctx context.Context) error {
	initrd := filepath.Join(vm.dir, "initrd")
	if err := writeGuest(ctx, vm.config, initrd); err != nil {
		return err
	}
	if vm.config.ConsoleLog != "" {
		log, err := os.Create(vm.config.ConsoleLog)
		if err != nil {
			return fmt.Errorf("opening the console's log: %w", err)
		}
		vm.log, vm.console.log = log, log
	}
	ctx, vm.cancel = context.WithCancelCause(ctx)
	q, err := startQEMU(ctx, vm.config, initrd)
	if err != nil {
		vm.cancel(err)
		return err
	}
	vm.qemu, vm.out = q, agent.NewWriter(q.agent)
	vm.heard.Store(time.Now().UnixNano())
	var lines sync.WaitGroup
	lines.Go(func() { _, _ = io.Copy(vm.console, q.console) })
	lines.Go(func() { vm.listen(q.agent) })
	vm.working.Go(func() { vm.watch(ctx) })
	vm.working.Go(func() {
		<-q.ended
		lines.Wait() // all that it said
		vm.die(vm.causeOfEnd(ctx))
	})
	return nil
}

// listen takes the guest's frames until the line closes.
func (vm *VM) listen(line io.Reader) {
	in := bufio.NewReaderSize(line, 64<<10)
	for {
		frame, err := agent.Read(in)
		if err == nil {
			vm.heard.Store(time.Now().UnixNano())
			err = vm.take(frame)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				vm.cancel(vm.guestError("the agent's line is broken: " + err.Error()))
			}
			return
		}
	}
}

func (vm *VM) take(f agent.Frame) error {
	switch f.Type {
	case agent.Hello:
		if err := f.Decode(&vm.greeting); err != nil {
			return err
		}
		close(vm.hello)
		return nil
	case agent.Pong:
		return nil
	}
	vm.mu.Lock()
	p, known := vm.processes[f.ID], f.ID <= vm.lastID
	vm.mu.Unlock()
	switch {
	case p != nil:
		return p.take(f)
	case known:
		return nil // such as input acknowledged by a process that has just ended
	}
	return fmt.Errorf("type %d for process %d, which was never started: %w", f.Type, f.ID, agent.ErrFrame)
}

// watch kills a guest that is silent for too long. It asks for signs of life, but
// seldom: an answer costs the guest time, which counts when it is measured.
func (vm *VM) watch(ctx context.Context) {
	ticker := time.NewTicker(max(vm.config.HangLimit/8, 100*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-vm.dead:
			return
		case <-ticker.C:
		}
		silent := time.Since(time.Unix(0, vm.heard.Load()))
		if silent > vm.config.HangLimit {
			vm.cancel(vm.guestError(fmt.Sprintf("it hangs: no sign of life for %.0f s", silent.Seconds())))
			return
		}
		select {
		case <-vm.hello:
			// A guest that does not read lets this block at most until it is killed;
			// then the next tick comes late, by which time it is dead anyway.
			vm.working.Go(func() { _ = vm.out.Write(agent.Frame{Type: agent.Ping}) })
		default: // still booting
		}
	}
}

func (vm *VM) guestError(reason string) *GuestError {
	return &GuestError{Kernel: vm.config.Kernel.String(), Reason: reason, Tail: tail(vm.console.String())}
}

// causeOfEnd tells why the emulator ended.
func (vm *VM) causeOfEnd(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx) // a hang, Close, or the caller's context
	}
	if reason := causeOfDeath(vm.console.String()); reason != "" {
		return vm.guestError(reason)
	}
	if vm.qemu.err != nil {
		return vm.guestError(vm.qemu.err.Error())
	}
	return vm.guestError("it powered off or restarted")
}

func (vm *VM) die(err error) {
	vm.mu.Lock()
	vm.err = err
	processes := vm.processes
	vm.processes = nil
	close(vm.dead)
	vm.mu.Unlock()
	for _, p := range processes {
		p.abandon(err)
	}
}

// Close kills the machine and waits until it is gone.
func (vm *VM) Close() {
	vm.cancel(ErrClosed)
	vm.cleanup()
}

func (vm *VM) cleanup() {
	if vm.qemu != nil {
		<-vm.dead
		// The pings, blocked or not, end with the line.
		vm.qemu.close()
		vm.working.Wait()
	}
	if vm.log != nil {
		vm.log.Close()
	}
	// What is left of a machine in the temporary directory does no harm.
	_ = os.RemoveAll(vm.dir)
}

// Kernel is the kernel that the machine runs.
func (vm *VM) Kernel() Kernel { return vm.config.Kernel }

// BootTime is the guest's own count of the time from its kernel's start until it
// took commands.
func (vm *VM) BootTime() time.Duration {
	return time.Duration(vm.greeting.UptimeMillis) * time.Millisecond
}

// Failed tells what the guest's init could not do, such as loading one of
// Config.Modules. It is empty when all went well.
func (vm *VM) Failed() []string { return vm.greeting.Failed }

// Console returns the last 1 MiB of what the kernel printed.
func (vm *VM) Console() string { return vm.console.String() }

// Complaints returns the lines of the console in which the kernel complains of
// itself: warnings, bugs, oopses, stalls.
func (vm *VM) Complaints() []string { return complaints(vm.console.String()) }

// Done is closed when the machine has ended; Err then tells why.
func (vm *VM) Done() <-chan struct{} { return vm.dead }

// Err is nil while the machine runs; then a [*GuestError], [ErrClosed] or the cause
// of the context's end.
func (vm *VM) Err() error {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return vm.err
}
