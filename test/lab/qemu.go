// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/test/lab/agent"
)

// qemuArgs is the machine. Hardware virtualisation is not used even where there is
// /dev/kvm: on some hosts guests hang with it, and results must not depend on it.
func qemuArgs(c Config, initrd string) []string {
	args := []string{
		"-nodefaults", "-display", "none", "-no-reboot", "-no-user-config",
		"-m", strconv.Itoa(c.MemoryMiB) + "M",
		"-chardev", "socket,id=console,fd=3", "-serial", "chardev:console",
		// Not a second serial port: those carry 150 KB/s out of an emulated machine
		// and 25 KB/s into it.
		"-device", "virtio-serial-pci", "-chardev", "socket,id=agent,fd=4",
		"-device", "virtserialport,nr=1,chardev=agent,name=" + agent.PortName,
		"-kernel", c.Kernel.Image(), "-initrd", initrd,
		"-append", kernelCommandLine(c),
	}
	if c.Icount {
		// One virtual nanosecond is one guest instruction, and sleeping takes no
		// time. Random instructions, the seed and the clock would differ by run.
		args = append(args, "-accel", "tcg", "-icount", "shift=0,sleep=off", "-cpu", "max,rdrand=off,rdseed=off",
			"-smp", "1", "-seed", "1", "-rtc", "base=2026-01-01T00:00:00,clock=vm")
	} else {
		args = append(args, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", strconv.Itoa(c.CPUs),
			// An Ethernet device, on a hub that nothing else is on: nothing leaves the guest.
			"-netdev", "hubport,id=nic,hubid=0", "-device", "virtio-net-pci,netdev=nic,romfile=")
	}
	if c.Dumps {
		args = append(args, "-chardev", "socket,id=monitor,fd=5", "-mon", "chardev=monitor,mode=control")
	}
	if c.Disk != "" {
		args = append(args,
			"-drive", "if=none,id=root,format=raw,snapshot=on,file="+strings.ReplaceAll(c.Disk, ",", ",,"),
			"-device", "virtio-blk-pci,drive=root")
	}
	return args
}

func kernelCommandLine(c Config) string {
	// Without tsc=reliable 5.10 and 6.1 call the emulated TSC unstable and use the HPET.
	// Without no_timer_check a guest that is starved at boot finds that its timer does not work.
	line := "console=ttyS0 panic=-1 oops=panic quiet tsc=reliable no_timer_check"
	if c.Icount {
		line += " nokaslr norandmaps random.trust_cpu=off nowatchdog"
	}
	if c.Append != "" {
		line += " " + c.Append
	}
	return line
}

// qemu is a running emulator.
type qemu struct {
	console *os.File
	agent   *os.File
	monitor *os.File      // nil unless asked for
	ended   chan struct{} // closed when err is set
	err     error         // why it ended, nil after exit code 0
}

// startQEMU starts the emulator, which is killed when ctx ends or this process dies.
func startQEMU(ctx context.Context, c Config, initrd string) (*qemu, error) {
	dir, err := FetchEmulator(ctx, c.Cache)
	if err != nil {
		return nil, err
	}
	console, consoleEnd, err := socketPair("console")
	if err != nil {
		return nil, err
	}
	defer consoleEnd.Close()
	line, lineEnd, err := socketPair("agent")
	if err != nil {
		console.Close()
		return nil, err
	}
	defer lineEnd.Close()
	argv := PortableCommand(dir, qemuProgram, append([]string{"-L", filepath.Join(dir, "share")}, qemuArgs(c, initrd)...)...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.ExtraFiles = []*os.File{consoleEnd, lineEnd}
	q := &qemu{console: console, agent: line, ended: make(chan struct{})}
	if c.Dumps {
		monitor, monitorEnd, err := socketPair("monitor")
		if err != nil {
			q.close()
			return nil, err
		}
		defer monitorEnd.Close()
		q.monitor = monitor
		cmd.ExtraFiles = append(cmd.ExtraFiles, monitorEnd)
	}
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: true}
	stderr := &boundedBuffer{limit: 16 << 10}
	cmd.Stdout, cmd.Stderr = stderr, stderr
	started := make(chan error, 1)
	go func() {
		// The parent of a death signal is a thread, not a process: it must live
		// until the emulator has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		if err := cmd.Wait(); err != nil {
			q.err = fmt.Errorf("%s: %w: %s", qemuProgram, err, strings.TrimSpace(stderr.String()))
		}
		close(q.ended)
	}()
	if err := <-started; err != nil {
		q.close()
		return nil, fmt.Errorf("starting %s: %w", qemuProgram, err)
	}
	return q, nil
}

// close closes the lines to the emulator.
func (q *qemu) close() {
	q.console.Close()
	q.agent.Close()
	if q.monitor != nil {
		q.monitor.Close()
	}
}

func socketPair(name string) (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making the guest's %s line: %w", name, err)
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name), nil
}

// boundedBuffer keeps the first limit bytes.
type boundedBuffer struct {
	mu    sync.Mutex
	limit int
	buf   bytes.Buffer
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if room := b.limit - b.buf.Len(); room > 0 {
		b.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (b *boundedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
