// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// watchdog tells where every process of the guest stands if the scenario is not over
// in time, and ends them: testscript then has a failed command to report, with all
// that went before it. What cannot be ended, because the kernel waits, ends the
// script itself. Stop it with the function it returns.
func watchdog(limit time.Duration) (stop func()) {
	timer := time.AfterFunc(limit, func() {
		fmt.Printf("the scenario is not over after %s; its processes:\n", limit)
		for _, p := range guestProcesses() {
			p.describe()
			if p.ours {
				_ = syscall.Kill(p.pid, syscall.SIGQUIT) // a Go program prints its goroutines
			}
		}
		time.Sleep(5 * time.Second)
		for _, p := range guestProcesses() {
			if p.ours {
				_ = syscall.Kill(p.pid, syscall.SIGKILL)
			}
		}
		time.Sleep(20 * time.Second)
		fmt.Println("FAIL: what the scenario started does not end:")
		for _, p := range guestProcesses() {
			p.describe()
		}
		os.Exit(1)
	})
	return func() { timer.Stop() }
}

// guestProcess is a process of user space.
type guestProcess struct {
	pid  int
	comm string
	ours bool // started by the scenario, at whatever remove
}

// describe prints where each thread of the process is in the kernel.
func (p guestProcess) describe() {
	fmt.Printf("  pid %d %s\n", p.pid, p.comm)
	stacks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stack", p.pid))
	for _, file := range stacks {
		stack, _ := os.ReadFile(file)
		fmt.Printf("    thread %s\n", filepath.Base(filepath.Dir(file)))
		for line := range bytes.Lines(stack) {
			fmt.Printf("      %s", line)
		}
	}
}

func guestProcesses() []guestProcess {
	parents := make(map[int]int)
	var out []guestProcess
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		stat, err := os.ReadFile(dir + "/stat")
		end := bytes.LastIndexByte(stat, ')')
		if err != nil || end < 0 {
			continue // it ended meanwhile
		}
		var state string
		var parent int
		if _, err := fmt.Sscan(string(stat[end+1:]), &state, &parent); err != nil {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(dir))
		parents[pid] = parent
		if exe, _ := os.Readlink(dir + "/exe"); exe != "" { // a kernel thread has none
			out = append(out, guestProcess{pid: pid, comm: string(stat[bytes.IndexByte(stat, '(') : end+1])})
		}
	}
	for i, p := range out {
		for at := parents[p.pid]; at > 1 && !out[i].ours; at = parents[at] {
			out[i].ours = at == os.Getpid()
		}
	}
	return out
}
