// SPDX-License-Identifier: Apache-2.0

package faults_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/netns-trace/netns-trace/test/lab"
)

func TestRefleak(t *testing.T) {
	onKernels(t, lab.KernelNames(), func(t *testing.T, cache lab.Cache, kernel lab.Kernel) {
		ko, err := lab.BuildModule(t.Context(), cache, kernel, "refleak")
		if err != nil {
			t.Fatal(err)
		}
		vm := boot(t, lab.Config{
			Cache: cache, Kernel: kernel, Modules: []string{"dummy"},
			Files: map[string]string{"/refleak.ko": ko},
		})
		sh(t, vm, "insmod /refleak.ko")
		t.Run("stops the deletion of a device until it puts", func(t *testing.T) { checkStuckDevice(t, vm) })
		t.Run("gives back a part of all", func(t *testing.T) { checkPartialPut(t, vm) })
		t.Run("gives everything back when unloaded", func(t *testing.T) { checkUnload(t, vm) })
	})
}

func checkStuckDevice(t *testing.T, vm *lab.VM) {
	list := sh(t, vm, `
		cd /sys/kernel/debug/refleak
		ip link add leak0 type dummy
		echo leak0 > hold
		echo leak0 2 b > hold
		cat list`)
	if !strings.HasPrefix(list, "leak0 netns=") || !strings.HasSuffix(list, " a=1 b=2\n") {
		t.Fatalf("held: %q, want one line of leak0 with a=1 b=2", list)
	}

	deleted := make(chan string, 1)
	go func() { deleted <- run(t, vm, "ip link del leak0 && echo deleted") }()
	waitForConsole(t, vm, "unregister_netdevice: waiting for leak0 to become free")
	// The count starts at 1 from 5.13 (add2d7363107): before it, three leaked
	// references print 3, from it 4.
	count := 4
	if vm.Kernel().Name == "5.10" {
		count = 3
	}
	if want := fmt.Sprintf("Usage count = %d", count); !strings.Contains(vm.Console(), want) {
		t.Errorf("the console has no %q:\n%s", want, vm.Console())
	}

	// Its namespace no longer knows the name. refleak does.
	if got := run(t, vm, "echo leak0 > /sys/kernel/debug/refleak/put; cat /sys/kernel/debug/refleak/list"); got != "" {
		t.Errorf("after giving everything back, held: %q", got)
	}
	select {
	case got := <-deleted:
		if got != "deleted\n" {
			t.Errorf("ip link del printed %q", got)
		}
	case <-time.After(patience):
		t.Error("the deletion did not end after everything was given back")
	}
}

func checkPartialPut(t *testing.T, vm *lab.VM) {
	out := sh(t, vm, `
		cd /sys/kernel/debug/refleak
		ip link add leak0 type dummy
		ip netns add other
		ip -n other link add leak0 type dummy
		echo leak0 5 > hold
		ip netns exec other sh -c 'mount -t debugfs d /mnt; echo leak0 3 b > /mnt/refleak/hold'
		cat list
		echo all 6 > put
		cat list
		if echo nosuch > put; then echo 'put accepted a device that is not held'; fi
		if echo nosuch > hold; then echo 'hold accepted a device that is not there'; fi
		if echo leak0 0 > hold; then echo 'hold accepted a count of 0'; fi
		if echo leak0 1 i > hold; then echo 'hold accepted a ninth function'; fi`)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 {
		t.Fatalf("got %q, want two devices and then one", lines)
	}
	if a, b := field(lines[0], "netns"), field(lines[1], "netns"); a == b || a == "" {
		t.Errorf("namespaces of the two devices: %q and %q", a, b)
	}
	for i, want := range []string{"a=5 b=0", "a=0 b=3", "a=0 b=2"} {
		if !strings.HasSuffix(lines[i], want) {
			t.Errorf("line %d is %q, want it to end in %s", i, lines[i], want)
		}
	}
}

// checkUnload needs what checkPartialPut left held.
func checkUnload(t *testing.T, vm *lab.VM) {
	held := sh(t, vm, "cat /sys/kernel/debug/refleak/list")
	if held == "" {
		t.Fatal("nothing is held: this would prove nothing")
	}
	const text = "waiting for leak0"
	before := strings.Count(vm.Console(), text)
	got := sh(t, vm, "rmmod refleak; ip link del leak0; ip netns del other; ip -o link")
	if strings.Contains(got, "leak0") {
		t.Errorf("links after the deletion:\n%s", got)
	}
	// A namespace goes in the background, and would wait for its device there.
	time.Sleep(15 * time.Second)
	if strings.Count(vm.Console(), text) != before {
		t.Errorf("after the unloading the kernel still waits:\n%s", vm.Console())
	}
}

// run is sh for another goroutine than the test's: what goes wrong is in its result.
func run(t *testing.T, vm *lab.VM, script string) string {
	var out strings.Builder
	_, err := vm.Run(t.Context(), lab.Command{
		Argv: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out, Timeout: patience,
	})
	if err != nil {
		fmt.Fprintf(&out, "error: %v", err)
	}
	return out.String()
}

func waitForConsole(t *testing.T, vm *lab.VM, text string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if strings.Contains(vm.Console(), text) {
			return
		}
	}
	t.Fatalf("the kernel did not print %q; the console:\n%s", text, vm.Console())
}
