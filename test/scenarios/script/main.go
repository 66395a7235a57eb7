// SPDX-License-Identifier: Apache-2.0

// Script runs one scenario in the guest: a script of rogpeppe's testscript, with
// the commands that faults and findings need (see ../README.md). It prints the
// log and exits 0 if the scenario holds.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// scenarioLimit is what the longest scenario takes on a busy machine, and half more.
const scenarioLimit = 6 * time.Minute

func main() {
	work := flag.String("work", "/tmp", "where scenarios get their working directories")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: script FILE")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *work); err != nil {
		fmt.Println("FAIL:", err)
		os.Exit(1)
	}
}

func run(file, work string) error {
	before, err := leftovers()
	if err != nil {
		return err
	}
	defer watchdog(scenarioLimit)()
	scene := newScene()
	t := &result{}
	done := make(chan struct{})
	go func() { // testscript ends a failing script with Goexit
		defer close(done)
		testscript.RunT(t, testscript.Params{
			Files:       []string{file},
			WorkdirRoot: work,
			Cmds:        scene.commands(),
			Setup: func(env *testscript.Env) error {
				env.Setenv("PATH", os.Getenv("PATH"))
				env.Setenv("HOME", "/root")
				env.Setenv("HOME_NETNS", netnsOf("/proc/self/ns/net"))
				env.Defer(scene.stopAll)
				return nil
			},
		})
	}()
	<-done
	if t.skipped {
		return fmt.Errorf("skipped inside the guest: %s", t.reason)
	}
	if t.failed {
		return errors.New(filepath.Base(file))
	}
	return settle(before)
}

// result is testscript's T without the testing package around it: a scenario
// runs by itself, in a guest of its own.
type result struct {
	failed, skipped bool
	reason          string
}

func (r *result) Parallel()     {}
func (r *result) Verbose() bool { return true }
func (r *result) FailNow()      { r.failed = true; runtime.Goexit() }

func (r *result) Log(args ...any) { fmt.Println(strings.TrimRight(fmt.Sprint(args...), "\n")) }

func (r *result) Fatal(args ...any) {
	r.Log(args...)
	r.FailNow()
}

func (r *result) Skip(args ...any) {
	r.skipped, r.reason = true, fmt.Sprint(args...)
	runtime.Goexit()
}

func (r *result) Run(_ string, f func(testscript.T)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
}
