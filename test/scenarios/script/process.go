// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a scenario waits for something that must come. The machine
// that emulates the guest may be busy; a fault that is found is found long before.
const patience = 150 * time.Second

// scene is what a scenario has started.
type scene struct {
	processes map[string]*process
	tracer    *tracer
	recording string // that the tracer writes; "": none
}

func newScene() *scene { return &scene{processes: make(map[string]*process)} }

func (s *scene) commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"start":    s.start,
		"line":     s.line,
		"end":      s.end,
		"sleep":    sleep,
		"netns":    netns,
		"set":      set,
		"retry":    retry,
		"trace":    s.trace,
		"finding":  s.finding,
		"silent":   s.silent,
		"final":    s.final,
		"said":     s.saidLine,
		"untrace":  s.untrace,
		"attached": attached,
	}
}

// process is a program running beside the scenario.
type process struct {
	cmd    *exec.Cmd
	stdout output
	stderr output
	exited chan struct{}
}

// output keeps what a process prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func launch(argv []string, dir string, env []string) (*process, error) {
	p := &process{cmd: exec.Command(argv[0], argv[1:]...), exited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = dir, env
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// What it printed last is read within this, however busy the guest; a child of it that
	// lives on and keeps the pipe makes its end that much later.
	p.cmd.WaitDelay = 3 * time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // its status is in cmd.ProcessState
	}()
	return p, nil
}

// end sends the signal and waits; a process that does not leave is killed, which
// is an error unless that was the signal.
func (p *process) end(sig syscall.Signal, within time.Duration) error {
	pid := p.cmd.Process.Pid
	_ = syscall.Kill(pid, sig)
	select {
	case <-p.exited:
		return nil
	case <-time.After(within):
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second): // in the kernel, waiting for a device perhaps
	}
	return fmt.Errorf("%s (pid %d) did not leave within %s after %v", p.cmd.Path, pid, within, sig)
}

// start NAME PROGRAM [ARG...] runs a program beside the scenario; $NAME is its pid.
func (s *scene) start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME PROGRAM [ARG...]")
	}
	p, err := launch(args[1:], ts.MkAbs("."), environment(ts))
	ts.Check(err)
	s.processes[args[0]] = p
	ts.Setenv(args[0], strconv.Itoa(p.cmd.Process.Pid))
}

func environment(ts *testscript.TestScript) []string {
	env := os.Environ()
	for _, name := range []string{"PATH", "HOME", "WORK"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return env
}

// line NAME REGEXP [VAR...] waits for a line on the program's output; the
// variables get what the parentheses matched.
func (s *scene) line(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: line NAME REGEXP [VAR...]")
	}
	p := s.processes[args[0]]
	if p == nil {
		ts.Fatalf("no program called %s was started", args[0])
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	var match []string
	waitFor(ts, func() bool {
		// In this order: what it prints last is there once it has exited, not before.
		exited := p.hasExited()
		match = re.FindStringSubmatch(p.stdout.String())
		return match != nil || exited
	})
	if match == nil {
		ts.Fatalf("%s printed no line like %s; it printed:\n%s%s", args[0], args[1], p.stdout.String(), p.stderr.String())
	}
	for i, name := range args[2:] {
		if i+1 >= len(match) {
			ts.Fatalf("%s has no group for %s", args[1], name)
		}
		ts.Setenv(name, match[i+1])
	}
}

func (p *process) hasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// end NAME [SIGNAL] ends a program; SIGTERM unless said otherwise.
func (s *scene) end(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: end NAME [TERM|KILL|INT]")
	}
	sig := syscall.SIGTERM
	if len(args) == 2 {
		sig = signals(ts, args[1])
	}
	p := s.processes[args[0]]
	if p == nil {
		ts.Fatalf("no program called %s was started", args[0])
	}
	ts.Check(p.end(sig, patience))
	ts.Logf("%s: %s%s", args[0], p.stdout.String(), p.stderr.String())
}

func signals(ts *testscript.TestScript, name string) syscall.Signal {
	sig, ok := map[string]syscall.Signal{
		"TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP,
	}[name]
	if !ok {
		ts.Fatalf("unknown signal %s", name)
	}
	return sig
}

// stopAll ends what runs: a moment suffices but for what waits in the kernel, such as
// for a device that a failed scenario still holds, and that no wait helps.
func (s *scene) stopAll() {
	const moment = 5 * time.Second
	if s.tracer != nil {
		_ = s.tracer.process.end(syscall.SIGKILL, patience)
	}
	for _, p := range s.processes {
		_ = p.end(syscall.SIGKILL, moment)
		// Its children too: the next scenario must find a healthy host.
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
}

// retry PROGRAM [ARG...] runs a program until it succeeds.
func retry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: retry PROGRAM [ARG...]")
	}
	var out []byte
	var err error
	waitFor(ts, func() bool {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env, cmd.Dir = environment(ts), ts.MkAbs(".")
		out, err = cmd.CombinedOutput()
		return err == nil
	})
	if err != nil {
		ts.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func sleep(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sleep DURATION")
	}
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	time.Sleep(d)
}

// netns NAME [VAR] makes a namespace as `ip netns add` does, with lo up; $NAME,
// or the variable, is its inode number.
func netns(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: netns NAME [VAR]")
	}
	name := args[0]
	ts.Check(ts.Exec("ip", "netns", "add", name))
	ts.Check(ts.Exec("ip", "-n", name, "link", "set", "lo", "up"))
	ts.Defer(func() { _ = exec.Command("ip", "netns", "delete", name).Run() })
	ts.Setenv(args[len(args)-1], netnsOf("/run/netns/"+name))
}

// set VAR PROGRAM [ARG...] sets a variable to what a program prints.
func set(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: set VAR PROGRAM [ARG...]")
	}
	cmd := exec.Command(args[1], args[2:]...)
	cmd.Env, cmd.Dir = environment(ts), ts.MkAbs(".")
	out, err := cmd.CombinedOutput()
	if err != nil {
		ts.Fatalf("%s: %v\n%s", strings.Join(args[1:], " "), err, out)
	}
	ts.Setenv(args[0], strings.TrimSpace(string(out)))
}

func netnsOf(path string) string {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return ""
	}
	return strconv.FormatUint(st.Ino, 10)
}

// waitFor polls until the condition holds or patience ends; the caller looks
// which.
func waitFor(_ *testscript.TestScript, cond func() bool) {
	for deadline := time.Now().Add(patience); !cond() && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
}
