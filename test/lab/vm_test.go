// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestKernels boots every kernel of the matrix and tries in it what tests rely on.
// Two run at a time: more would only slow each other down.
func TestKernels(t *testing.T) {
	cache := testCache(t)
	two := make(chan struct{}, 2)
	for _, name := range KernelNames() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			two <- struct{}{}
			defer func() { <-two }()
			vm := boot(t, cache, name, Config{})
			t.Logf("kernel %s took commands after %v of its own time", vm.Kernel().Release, vm.BootTime())
			t.Run("uname", func(t *testing.T) { guestIsTheKernel(t, vm) })
			t.Run("btf", func(t *testing.T) { mustRun(t, vm, "test", "-s", "/sys/kernel/btf/vmlinux") })
			t.Run("mounts", func(t *testing.T) { guestHasItsMounts(t, vm) })
			t.Run("autoload", func(t *testing.T) { kernelLoadsModulesItself(t, vm) })
			t.Run("streams", func(t *testing.T) { streamsAndExitCodes(t, vm) })
			t.Run("stdin", func(t *testing.T) { inputIsPassedOn(t, vm) })
			t.Run("background", func(t *testing.T) { backgroundProcessesDoNotHold(t, vm) })
			t.Run("terminal", func(t *testing.T) { terminalHasItsSize(t, vm) })
			t.Run("signals", func(t *testing.T) { signalsArrive(t, vm) })
			t.Run("limits", func(t *testing.T) { contextAndTimeoutKill(t, vm) })
			t.Run("many", func(t *testing.T) { manyAtOnce(t, vm) })
			t.Run("patched code", func(t *testing.T) { patchedCodeIsExecuted(t, vm) })
			// The last: it does not survive.
			t.Run("panic", func(t *testing.T) { panicIsAGuestError(t, vm) })
		})
	}
}

func boot(t *testing.T, cache Cache, name string, config Config) *VM {
	t.Helper()
	kernel, err := FetchKernel(t.Context(), cache, name, FlavourCloud)
	if err != nil {
		t.Fatal(err)
	}
	config.Cache, config.Kernel = cache, kernel
	vm, err := Boot(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vm.Close)
	if len(vm.Failed()) > 0 {
		t.Errorf("init failed: %q", vm.Failed())
	}
	return vm
}

// runIn runs a shell script in the guest.
func runIn(t *testing.T, vm *VM, script string) (stdout, stderr string, exit int) {
	t.Helper()
	var out, errs bytes.Buffer
	exit, err := vm.Run(t.Context(), Command{Argv: []string{"sh", "-c", script}, Stdout: &out, Stderr: &errs})
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), exit
}

func mustRun(t *testing.T, vm *VM, argv ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	exit, err := vm.Run(t.Context(), Command{Argv: argv, Stdout: &out, Stderr: &errs})
	if err != nil || exit != 0 {
		t.Fatalf("%q: exit code %d, %v\n%s%s", argv, exit, err, &out, &errs)
	}
	return out.String()
}

func guestIsTheKernel(t *testing.T, vm *VM) {
	if got := strings.TrimSpace(mustRun(t, vm, "uname", "-r")); got != vm.Kernel().Release {
		t.Errorf("uname -r is %q, the kernel is %q", got, vm.Kernel().Release)
	}
}

func guestHasItsMounts(t *testing.T, vm *VM) {
	mounts := mustRun(t, vm, "cat", "/proc/mounts")
	for _, want := range []string{
		"/proc proc", "/sys sysfs", "/dev devtmpfs", "/dev/pts devpts", "/run tmpfs", "/tmp tmpfs", "/sys/fs/cgroup cgroup2",
		"/sys/fs/bpf bpf", "/sys/kernel/debug debugfs", "/sys/kernel/tracing tracefs", "/sys/kernel/security securityfs",
	} {
		if !strings.Contains(mounts, " "+want+" ") {
			t.Errorf("no %s in\n%s", want, mounts)
		}
	}
	if link := mustRun(t, vm, "ip", "link", "show", "lo"); !strings.Contains(link, "LOOPBACK,UP") {
		t.Errorf("lo is not up: %s", link)
	}
}

func kernelLoadsModulesItself(t *testing.T, vm *VM) {
	mustRun(t, vm, "ip", "link", "add", "veth-a", "type", "veth", "peer", "name", "veth-b")
	mustRun(t, vm, "grep", "-q", "^veth ", "/proc/modules")
	// In a script, too, ip must be iproute2's and not busybox's.
	if out, _, exit := runIn(t, vm, "ip -V && ip -j link show veth-a && ip link del veth-a"); exit != 0 || !strings.Contains(out, `"ifname":"veth-a"`) {
		t.Errorf("ip in a script: exit code %d, %s", exit, out)
	}
	mustRun(t, vm, "ip", "tuntap", "add", "tap0", "mode", "tap") // opens /dev/net/tun
	mustRun(t, vm, "rmmod", "veth")
	mustRun(t, vm, "modprobe", "-a", "dummy", "rtnl-link-bridge")
	mustRun(t, vm, "grep", "-q", "^stp ", "/proc/modules")
	file := strings.TrimSpace(mustRun(t, vm, "find", "/lib/modules/", "-name", "ifb.ko"))
	mustRun(t, vm, "insmod", file)
	if _, errs, exit := runIn(t, vm, "modprobe nonsense"); exit != 1 || !strings.Contains(errs, "nonsense: no such module") {
		t.Errorf("modprobe nonsense: exit code %d, %q", exit, errs)
	}
}

// patchedCodeIsExecuted switches static branches to and fro beside programs that come
// through them. An emulator with stale code has the kernel die within a second or two.
func patchedCodeIsExecuted(t *testing.T, vm *VM) {
	out, errs, exit := runIn(t, vm, `
		(while :; do cat /proc/self/stat /proc/net/dev >/dev/null; done) & first=$!
		(while :; do ls /proc >/dev/null; done) & second=$!
		now() { cut -d. -f1 /proc/uptime; }
		end=$(($(now) + 5))
		while [ $(now) -lt $end ]; do
			for i in 1 2 3 4 5 6 7 8 9 10; do
				for name in sched_schedstats bpf_stats_enabled; do
					echo 1 >/proc/sys/kernel/$name && echo 0 >/proc/sys/kernel/$name || exit
				done
			done
		done
		kill $first $second && echo alive`)
	if out != "alive\n" || exit != 0 {
		t.Errorf("exit code %d, %q, %s", exit, out, errs)
	}
}

func panicIsAGuestError(t *testing.T, vm *VM) {
	for _, line := range vm.Complaints() {
		// A host that stops for 20 s looks to the guest like a processor that hangs.
		if !strings.Contains(line, "soft lockup") && !strings.Contains(line, "rcu") {
			t.Errorf("the kernel complains before anything was done to it: %s", line)
		}
	}
	_, err := vm.Run(t.Context(), Command{Argv: []string{"sh", "-c", "echo c >/proc/sysrq-trigger; sleep 600"}})
	died, ok := errors.AsType[*GuestError](err)
	if !ok {
		t.Fatalf("a panic gave %v", err)
	}
	if !strings.Contains(died.Reason, "sysrq triggered crash") || !strings.Contains(died.Tail, "sysrq_handle_crash") {
		t.Errorf("the reason is %q, the console's tail\n%s", died.Reason, died.Tail)
	}
	<-vm.Done()
	if _, err := vm.Run(t.Context(), Command{Argv: []string{"true"}}); !errors.As(err, &died) {
		t.Errorf("a command for a dead machine gave %v", err)
	}
}

func TestSilentGuestIsAnError(t *testing.T) {
	cache := testCache(t)
	kernel, err := FetchKernel(t.Context(), cache, "5.10", FlavourCloud)
	if err != nil {
		t.Fatal(err)
	}
	vm, err := Boot(t.Context(), Config{Cache: cache, Kernel: kernel, HangLimit: 300 * time.Millisecond})
	if err == nil {
		vm.Close()
		t.Fatal("a guest that said nothing for 300 ms was accepted")
	}
	died, ok := errors.AsType[*GuestError](err)
	if !ok || !strings.Contains(died.Reason, "no sign of life") {
		t.Errorf("got %v", err)
	}
}

func TestBootEndsWithItsContext(t *testing.T) {
	cache := testCache(t)
	kernel, err := FetchKernel(t.Context(), cache, "5.10", FlavourCloud)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(300*time.Millisecond, cancel)
	if vm, err := Boot(ctx, Config{Cache: cache, Kernel: kernel}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v", vm, err)
	}
}

// A disk gets files and modules of the lab, and nothing is written to it.
func TestDiskIsTheRoot(t *testing.T) {
	cache := testCache(t)
	userland, err := FetchUserland(t.Context(), cache)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root")
	if err := os.CopyFS(root, os.DirFS(userland)); err != nil {
		t.Fatal(err)
	}
	for _, m := range mergedDirs {
		target := strings.Repeat("../", strings.Count(m.dir, "/")) + m.target
		if err := os.Symlink(target, filepath.Join(root, m.dir)); err != nil {
			t.Fatal(err)
		}
	}
	disk := filepath.Join(t.TempDir(), "disk.ext4")
	mkfs := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", "-d", root, disk, "64M")
	mkfs.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := mkfs.CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	before, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"5.10", "newest"} {
		t.Run(name, func(t *testing.T) {
			vm := boot(t, cache, name, Config{Disk: disk, Files: map[string]string{"/opt/hosts": "/etc/passwd"}})
			out, errs, exit := runIn(t, vm, "grep ' / ext4 ' /proc/mounts && test -s /opt/hosts && test -x /lab/init && "+
				"ip link add type veth && touch /written && sync && ip link add type dummy && echo fine")
			if exit != 0 || !strings.HasSuffix(out, "fine\n") {
				t.Errorf("exit code %d, %s%s", exit, out, errs)
			}
		})
	}
	if after, err := os.ReadFile(disk); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the image was changed: %v", err)
	}
}

// With time as a count of instructions, an idle second takes no time, and the machine
// must stay usable.
func TestIcount(t *testing.T) {
	vm := boot(t, testCache(t), "6.12", Config{Icount: true})
	start := time.Now()
	if out, _, exit := runIn(t, vm, "nproc; sleep 300"); exit != 0 || out != "1\n" {
		t.Errorf("%q, exit code %d", out, exit)
	}
	if took := time.Since(start); took > 200*time.Second {
		t.Errorf("300 virtual seconds of sleep took %v", took)
	}
}
