// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/netns-trace/netns-trace/test/lab"
)

// Nothing that is measured sleeps, but other users of the host may slow it down.
const (
	workloadLimit = 5 * time.Minute
	attachLimit   = 5 * time.Minute
)

// pairsModule does the workload reference.
const pairsModule = "/faults/refpairs.ko"

// prepare makes the namespace and the veth pair that ops wants, with the neighbours'
// addresses given, so that nothing else is sent on it. Process numbers begin above
// 4096 and do not wrap around: the depth of the kernel's table of them would change
// what a clone costs.
const prepare = `
echo 4194304 >/proc/sys/kernel/pid_max
echo 5000 >/proc/sys/kernel/ns_last_pid
ip netns add bench
ip link add b0 type veth peer name b1 netns bench
ip addr add 10.9.0.1/24 dev b0
ip -n bench addr add 10.9.0.2/24 dev b1
ip link set b0 up
ip -n bench link set b1 up
ip neigh replace 10.9.0.2 dev b0 nud permanent lladdr $(ip netns exec bench cat /sys/class/net/b1/address)
ip -n bench neigh replace 10.9.0.1 dev b1 nud permanent lladdr $(cat /sys/class/net/b0/address)
insmod ` + pairsModule + `
sleep 5 # until IPv6 has its addresses
`

// guest is a machine that counts instructions.
type guest struct{ vm *lab.VM }

// boot starts a kernel with the programs that are measured in it: paths in the guest
// to paths on the host.
func boot(ctx context.Context, cache lab.Cache, kernel lab.Kernel, files map[string]string) (*guest, error) {
	modules, err := lab.GuestModules(ctx, cache, kernel, func(path string) bool { return path == pairsModule })
	if err != nil {
		return nil, err
	}
	files = maps.Clone(files)
	maps.Copy(files, modules)
	vm, err := lab.Boot(ctx, lab.Config{
		Cache: cache, Kernel: kernel, Files: files, Icount: true, MemoryMiB: 2048,
		// The stock one: it has the types that fentry needs.
		Modules: []string{"veth"},
		// The signs of life that the lab asks for are instructions too: ask seldom.
		HangLimit: 10 * time.Minute,
	})
	if err != nil {
		return nil, err
	}
	g := &guest{vm: vm}
	if failed := vm.Failed(); len(failed) > 0 {
		g.close()
		return nil, errors.New(strings.Join(failed, "; "))
	}
	if _, err := g.run(ctx, attachLimit, "sh", "-ec", prepare); err != nil {
		g.close()
		return nil, fmt.Errorf("preparing the guest: %w", err)
	}
	return g, nil
}

func (g *guest) close() { g.vm.Close() }

// run runs a command to its end and returns its standard output. An exit code other
// than 0 is an error.
func (g *guest) run(ctx context.Context, limit time.Duration, argv ...string) (string, error) {
	var out, errs bytes.Buffer
	code, err := g.vm.Run(ctx, lab.Command{Argv: argv, Stdout: &out, Stderr: &errs, Timeout: limit})
	if err != nil {
		return "", err
	}
	if code != 0 {
		return "", fmt.Errorf("%s: exit code %d: %s", filepath.Base(argv[0]), code, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// layoutPages is by how many pages of each CPU's memory one process has another layout of
// it than the one before.
const layoutPages = 13

// measure returns the instructions of one operation of a workload, now.
func (g *guest) measure(ctx context.Context, w workload) (float64, error) {
	var runs []float64
	for run := range max(1, w.runs) {
		argv := []string{binDir + "ops", w.name}
		if w.batched {
			argv = append(argv, strconv.Itoa(run*layoutPages))
		}
		out, err := g.run(ctx, workloadLimit, argv...)
		if err != nil {
			return 0, fmt.Errorf("measuring %s: %w", w.name, err)
		}
		n, err := perOperation(out, w.quantile())
		if err != nil {
			return 0, fmt.Errorf("measuring %s: %w", w.name, err)
		}
		runs = append(runs, n)
	}
	if w.batched {
		return slices.Min(runs), nil
	}
	return median(runs), nil
}

// tracer is a variant that runs in the guest.
type tracer struct {
	name    string
	guest   *guest
	process *lab.Process
	kill    context.CancelFunc
	output  *bytes.Buffer // to be read when it has ended
}

// attach starts a variant and waits until it says that everything is attached. The
// tracer must be ended.
func (g *guest) attach(ctx context.Context, v variant) (*tracer, error) {
	if _, err := g.run(ctx, attachLimit, "rm", "-f", readyFile); err != nil {
		return nil, err
	}
	t := &tracer{name: v.name, guest: g, output: new(bytes.Buffer)}
	ctx, t.kill = context.WithCancel(ctx)
	var err error
	if t.process, err = g.vm.Start(ctx, lab.Command{Argv: v.argv, Stdout: t.output, Stderr: t.output}); err != nil {
		t.kill()
		return nil, fmt.Errorf("starting %s: %w", v.name, err)
	}
	// A tracer that has just started may still be busy in user space: netns-trace reads
	// the kernel's symbols. An idle second takes no time here.
	wait := fmt.Sprintf("until [ -e %s ]; do kill -0 %d; sleep 0.1; done; sleep 20", readyFile, t.process.PID())
	if _, err := g.run(ctx, attachLimit, "sh", "-ec", wait); err != nil {
		err = errors.Join(fmt.Errorf("attaching: %w", err), t.end(anyCode))
		return nil, fmt.Errorf("%w\n%s", err, bytes.TrimSpace(t.output.Bytes()))
	}
	return t, nil
}

// measure is [guest.measure] with the tracer attached.
func (t *tracer) measure(ctx context.Context, g *guest, w workload) (float64, error) {
	if !w.still {
		return g.measure(ctx, w)
	}
	if err := t.process.Signal(syscall.SIGSTOP); err != nil {
		return 0, fmt.Errorf("stopping %s: %w", t.name, err)
	}
	n, err := g.measure(ctx, w)
	if goOn := t.process.Signal(syscall.SIGCONT); goOn != nil {
		err = errors.Join(err, fmt.Errorf("letting %s go on: %w", t.name, goOn))
	}
	return n, err
}

// anyCode is for tracers whose exit code says nothing.
const anyCode = -1

// end interrupts the tracer and waits until it has detached and ended, with the exit
// code wanted.
func (t *tracer) end(want int) error {
	defer t.kill()
	if err := t.process.Signal(syscall.SIGINT); err != nil {
		return fmt.Errorf("ending %s: %w", t.name, err)
	}
	defer time.AfterFunc(attachLimit, t.kill).Stop()
	code, err := t.process.Wait()
	if err != nil {
		return fmt.Errorf("ending %s: %w", t.name, err)
	}
	if want != anyCode && code != want {
		return fmt.Errorf("%s ended with exit code %d, not %d: %s", t.name, code, want, bytes.TrimSpace(t.output.Bytes()))
	}
	// What netns-trace leaves to a process of its own is done when that has ended.
	const gone = "while grep -qs netns-trace-rm /proc/[0-9]*/comm; do sleep 0.1; done"
	if _, err := t.guest.run(context.Background(), attachLimit, "sh", "-c", gone); err != nil {
		return fmt.Errorf("waiting for what %s left to be taken off: %w", t.name, err)
	}
	return nil
}
