// SPDX-License-Identifier: Apache-2.0

// Package crashdump_test asks what holds a device twice: the machine while it runs, and
// then its memory, saved to a file. The answers have to be the same.
package crashdump_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netns-trace/netns-trace/test/lab"
)

var kernels = flag.String("kernels", "6.12", "run on these kernels, comma-separated")

// patience is how long a command in a guest may take on a busy host.
const patience = 5 * time.Minute

// causeWaits makes two devices wait: hold7 for a socket, leak7 for references that a
// module has leaked. sockhold and the deletions of the devices go on.
const causeWaits = `
modprobe llc2
mount -t debugfs none /sys/kernel/debug 2>/dev/null || true
insmod /faults/refleak.ko
for dev in hold7 leak7; do ip link add $dev type dummy; ip link set $dev up; done
echo leak7 3 > /sys/kernel/debug/refleak/hold
setsid sockhold llc hold7 </dev/null >/tmp/held 2>&1 &
until grep -q holding /tmp/held; do sleep 0.1; done
for dev in hold7 leak7; do setsid ip link delete $dev </dev/null >/dev/null 2>&1 & done
sleep 2
`

func TestHoldersOfACrashDump(t *testing.T) {
	if testing.Short() {
		t.Skip("boots kernels, which -short leaves out")
	}
	cache, err := lab.OpenCache(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	tools, err := lab.GuestTools(t.Context(), cache)
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(*kernels, ",") {
		t.Run(name, func(t *testing.T) { compare(t, cache, tools, name) })
	}
}

// finding is what is compared of one.
type finding struct {
	Kind, Summary string
	Netns         struct{ Inode uint32 }
	Process       *struct {
		PID   int
		Comm  string
		Start time.Time
	}
	Details map[string]any
}

func compare(t *testing.T, cache lab.Cache, tools map[string]string, name string) {
	kernel, err := lab.FetchKernel(t.Context(), cache, name, lab.FlavourPlain)
	if err != nil {
		t.Fatal(err)
	}
	files := maps.Clone(tools)
	modules, err := lab.GuestModules(t.Context(), cache, kernel, func(path string) bool { return path == "/faults/refleak.ko" })
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(files, modules)
	vm, err := lab.Boot(t.Context(), lab.Config{Cache: cache, Kernel: kernel, MemoryMiB: 512, Files: files, Dumps: true})
	if err != nil {
		t.Fatal(err)
	}
	defer vm.Close()
	sh(t, vm, causeWaits)
	live := parse(t, sh(t, vm, "netns-trace holders --json || test $? = 3"))
	wantAnswer(t, live)

	dir := t.TempDir()
	var symbols []string
	if tellsNoSymbols := name == "5.10"; tellsNoSymbols {
		// What the guest knows of its symbols stands for System.map.
		path := filepath.Join(dir, "System.map")
		if err := os.WriteFile(path, []byte(sh(t, vm, "cat /proc/kallsyms")), 0o644); err != nil {
			t.Fatal(err)
		}
		symbols = []string{"--symbols", path}
	}
	for _, format := range []lab.DumpFormat{lab.DumpELF, lab.DumpKdump} {
		t.Run(string(format), func(t *testing.T) {
			path := filepath.Join(dir, string(format))
			if err := vm.Dump(t.Context(), path, format); err != nil {
				t.Fatal(err)
			}
			defer os.Remove(path)
			tool := tools["/usr/local/bin/netns-trace"]
			if symbols != nil {
				if _, complaints, exit := holders(t, tool, "--core", path); exit != 1 || !strings.Contains(complaints, "give --symbols the System.map") {
					t.Errorf("without symbols: exit status %d, %s", exit, complaints)
				}
			}
			said, complaints, exit := holders(t, tool, append(symbols, "--core", path)...)
			if exit != 3 {
				t.Fatalf("exit status %d, %s", exit, complaints)
			}
			if !strings.Contains(complaints, "crash dump of Linux "+kernel.Release+", of 20") {
				t.Errorf("it does not say what was dumped, and when: %s", complaints)
			}
			dumped := parse(t, said)
			wantAnswer(t, dumped)
			if got, want := summaries(dumped), summaries(live); !slices.Equal(got, want) {
				t.Errorf("the dump says\n\t%s\nthe machine said\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
			}
			// The kernel's clocks are those of its last tick.
			if off := started(dumped).Sub(started(live)).Abs(); off > time.Second {
				t.Errorf("the process started %s, the machine said %s", started(dumped), started(live))
			}
			for _, f := range dumped {
				if f.Details["crash_dump_of"] != kernel.Release {
					t.Errorf("%s: crash_dump_of is %v", f.Summary, f.Details["crash_dump_of"])
				}
			}
		})
	}
}

// wantAnswer checks that the devices are named, and what holds them.
func wantAnswer(t *testing.T, found []finding) {
	t.Helper()
	all := strings.Join(summaries(found), "\n")
	for _, want := range []string{
		"hold7 of netns host ", " waits in unregistration: usage count ", "explained 1 certain, 0 likely, 0 unexplained",
		" is held by a socket of AF_LLC of sockhold (pid ", "leak7 of netns host ",
		"explained 0 certain, 0 likely, 3 unexplained", "3 references look leaked by code",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not said in\n%s", want, all)
		}
	}
	i := slices.IndexFunc(found, func(f finding) bool { return f.Kind == "holder" })
	if i < 0 || found[i].Process == nil || found[i].Process.Comm != "sockhold" || found[i].Process.PID == 0 {
		t.Errorf("the process is not named in\n%s", all)
	}
}

// summaries are what is said, without the order in which the devices came.
func summaries(found []finding) []string {
	var list []string
	for _, f := range found {
		list = append(list, fmt.Sprintf("%s: %s (netns %d)", f.Kind, f.Summary, f.Netns.Inode))
	}
	slices.Sort(list)
	return list
}

// started is when the process of the holder did.
func started(found []finding) time.Time {
	i := slices.IndexFunc(found, func(f finding) bool { return f.Process != nil })
	if i < 0 {
		return time.Time{}
	}
	return found[i].Process.Start
}

func parse(t *testing.T, lines string) []finding {
	t.Helper()
	var list []finding
	for line := range strings.Lines(lines) {
		var f finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		list = append(list, f)
	}
	return list
}

// holders runs the tool on this machine, which it does not look at.
func holders(t *testing.T, tool string, args ...string) (said, complaints string, exit int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), tool, append([]string{"holders", "--json"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func sh(t *testing.T, vm *lab.VM, script string) string {
	t.Helper()
	var out, complaints bytes.Buffer
	exit, err := vm.Run(t.Context(), lab.Command{Argv: []string{"sh", "-euc", script}, Stdout: &out, Stderr: &complaints, Timeout: patience})
	if err != nil || exit != 0 {
		t.Fatalf("exit status %d, %v\n%s\n%s%s", exit, err, script, &out, &complaints)
	}
	return out.String()
}
