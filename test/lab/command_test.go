// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/netns-trace/netns-trace/test/lab/agent"
)

func streamsAndExitCodes(t *testing.T, vm *VM) {
	out, errs, exit := runIn(t, vm, "echo to stdout; echo to stderr >&2; exit 42")
	if out != "to stdout\n" || errs != "to stderr\n" || exit != 42 {
		t.Errorf("stdout %q, stderr %q, exit code %d", out, errs, exit)
	}
	if _, _, exit := runIn(t, vm, "kill -SEGV $$"); exit != 128+11 {
		t.Errorf("a process killed by SIGSEGV gave exit code %d", exit)
	}
	var env bytes.Buffer
	exit, err := vm.Run(t.Context(), Command{
		Argv: []string{"sh", "-c", "echo $A $PATH $PWD"}, Env: []string{"A=b", "PATH=/usr/bin:/bin"}, Dir: "/etc", Stdout: &env,
	})
	if err != nil || exit != 0 || env.String() != "b /usr/bin:/bin /etc\n" {
		t.Errorf("environment and directory: %q, exit code %d, %v", &env, exit, err)
	}
	if _, err := vm.Run(t.Context(), Command{Argv: []string{"no-such-program"}}); err == nil || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("a missing program gave %v", err)
	}
	if _, err := vm.Run(t.Context(), Command{Argv: []string{"true"}, Dir: "/no/such/dir"}); err == nil {
		t.Error("a missing directory gave no error")
	}
	var big bytes.Buffer
	exit, err = vm.Run(t.Context(), Command{Argv: []string{"sh", "-c", "yes 0123456 | head -c 4000000"}, Stdout: &big})
	if want := strings.Repeat("0123456\n", 500000); err != nil || exit != 0 || big.String() != want {
		t.Errorf("4,000,000 bytes of output came as %d, exit code %d, %v", big.Len(), exit, err)
	}
}

func inputIsPassedOn(t *testing.T, vm *VM) {
	text := strings.Repeat("0123456789abcde\n", 20000)
	var out bytes.Buffer
	exit, err := vm.Run(t.Context(), Command{Argv: []string{"cat"}, Stdin: strings.NewReader(text), Stdout: &out})
	if err != nil || exit != 0 || out.String() != text {
		t.Errorf("of %d bytes %d came back, exit code %d, %v", len(text), out.Len(), exit, err)
	}
	// A program that does not want its input, or without any, must not wait.
	for _, command := range []Command{
		{Argv: []string{"true"}, Stdin: strings.NewReader(text)},
		{Argv: []string{"sh", "-c", "sleep 60 & exit 0"}, Stdin: strings.NewReader(text)},
		{Argv: []string{"cat"}},
	} {
		if exit, err := vm.Run(t.Context(), command); err != nil || exit != 0 {
			t.Errorf("%q: exit code %d, %v", command.Argv, exit, err)
		}
	}
}

func backgroundProcessesDoNotHold(t *testing.T, vm *VM) {
	start := time.Now()
	out, _, exit := runIn(t, vm, "(sleep 1; echo too late; sleep 600) & echo now")
	if out != "now\n" || exit != 0 || time.Since(start) > time.Minute {
		t.Errorf("got %q, exit code %d after %v", out, exit, time.Since(start))
	}
}

func terminalHasItsSize(t *testing.T, vm *VM) {
	for _, shell := range []string{"sh", "bash"} {
		var out bytes.Buffer
		exit, err := vm.Run(t.Context(), Command{
			Argv: []string{shell, "-c", "test -t 0 && test -t 2 && stty size && exit 5"}, Stdout: &out,
			Terminal: &agent.Size{Rows: 33, Columns: 111},
		})
		if err != nil || exit != 5 || out.String() != "33 111\r\n" {
			t.Errorf("%s: %q, exit code %d, %v", shell, &out, exit, err)
		}
	}
}

// signal waits for the program's first output before it signals it.
type signal struct {
	once  sync.Once
	ready chan struct{}
}

func (s *signal) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.ready) })
	return len(p), nil
}

func signalsArrive(t *testing.T, vm *VM) {
	ready := &signal{ready: make(chan struct{})}
	p, err := vm.Start(t.Context(), Command{
		Argv: []string{"sh", "-c", "trap 'kill %1; exit 7' INT; sleep 600 & echo ready; wait"}, Stdout: ready,
	})
	if err != nil {
		t.Fatal(err)
	}
	<-ready.ready
	mustRun(t, vm, "test", "-d", fmt.Sprintf("/proc/%d", p.PID()))
	if err := p.Signal(syscall.SIGINT); err != nil {
		t.Error(err)
	}
	if exit, err := p.Wait(); exit != 7 || err != nil {
		t.Errorf("exit code %d, %v, want the trap's 7", exit, err)
	}
	if err := p.Signal(syscall.SIGINT); err != nil {
		t.Errorf("signalling what has ended gave %v", err)
	}
}

func contextAndTimeoutKill(t *testing.T, vm *VM) {
	// The child in the same group must be killed too.
	script := []string{"sh", "-c", "sleep 7777 & sleep 8888; true"}
	_, err := vm.Run(t.Context(), Command{Argv: script, Timeout: 300 * time.Millisecond})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "did not end within 300ms") {
		t.Errorf("a timeout gave %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(300*time.Millisecond, cancel)
	if _, err := vm.Run(ctx, Command{Argv: script}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context gave %v", err)
	}
	if out, _, _ := runIn(t, vm, "sleep 0.2; pgrep -f 'sleep (7777|8888)$'"); out != "" {
		t.Errorf("these were not killed: %s", out)
	}
	if err := vm.Err(); err != nil {
		t.Errorf("the machine did not survive it: %v", err)
	}
}

func manyAtOnce(t *testing.T, vm *VM) {
	// A process whose output nobody takes must not stop the others.
	block := make(chan struct{})
	stuck, err := vm.Start(t.Context(), Command{Argv: []string{"yes"}, Stdout: writerFunc(func() { <-block })})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			out, _, exit := runIn(t, vm, fmt.Sprintf("seq 1 1000 | tail -n 1; echo %d; exit %d", i, i))
			if want := fmt.Sprintf("1000\n%d\n", i); out != want || exit != i {
				t.Errorf("process %d: %q, exit code %d", i, out, exit)
			}
		})
	}
	all.Wait()
	close(block)
	if err := stuck.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if exit, err := stuck.Wait(); exit != 128+15 || err != nil {
		t.Errorf("exit code %d, %v", exit, err)
	}
}

type writerFunc func()

func (f writerFunc) Write(p []byte) (int, error) { f(); return len(p), nil }
