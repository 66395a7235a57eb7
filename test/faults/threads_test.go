// SPDX-License-Identifier: Apache-2.0

package faults_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netns-trace/netns-trace/test/lab"
)

// A threadFault is one way to run setnsclone or setnsgo, and what must then be true.
type threadFault struct {
	name    string
	command string
	// stranded is how many threads are in the other namespace when all steps are
	// over, of a process that still runs.
	stranded int
	// orMore is set where a thread that went back to Go's scheduler may itself have
	// cloned others by then.
	orMore bool
	// steps are words that begin lines of the output, in any order.
	steps []string
}

func threadFaults() []threadFault {
	return []threadFault{
		{
			name:    "a thread cloned in the window stays",
			command: "setnsclone $N", stranded: 1, steps: []string{"home", "away", "cloned", "back"},
		},
		{
			name:    "three threads cloned in the window",
			command: "setnsclone $N --threads 3", stranded: 3, steps: []string{"cloned", "back"},
		},
		{
			name:    "nobody goes home",
			command: "setnsclone $N --no-return", stranded: 2, steps: []string{"away", "cloned"},
		},
		{
			name:    "the main thread switches",
			command: "setnsclone $N --main", stranded: 1, steps: []string{"cloned", "back"},
		},
		{
			name:    "the main thread stays away",
			command: "setnsclone $N --main --no-return", stranded: 2, steps: []string{"away", "cloned"},
		},
		{
			name:    "the stranded thread recovers",
			command: "setnsclone $N --recover-ms 500", steps: []string{"back", "recovered"},
		},
		{
			name:    "the stranded thread ends",
			command: "setnsclone $N --exit-child-ms 500 --stay", steps: []string{"back", "exited"},
		},
		{
			name:    "the stranded thread's connects fail",
			command: "setnsclone $N --connect 10.0.0.1:80", stranded: 1, steps: []string{"connect", "back"},
		},
		{
			name:    "children are no threads",
			command: "setnsclone $N --stay --fork-exec 'readlink /proc/self/ns/net'", steps: []string{"forked", "vforked", "back"},
		},
		{
			name:    "one in a crowd of idle threads",
			command: "setnsclone $N --idle-threads 5000", stranded: 1, steps: []string{"idle", "cloned", "back"},
		},
		{
			name:    "Go: unlocked while away",
			command: "setnsgo unlock $N", stranded: 1, orMore: true, steps: []string{"away", "unlocked"},
		},
		{
			name:    "Go: the restore fails",
			command: "setnsgo failed-restore $N", stranded: 1, orMore: true, steps: []string{"away", "restore-failed"},
		},
		{
			name:    "Go: not locked at all",
			command: "setnsgo nolock $N", stranded: 1, orMore: true, steps: []string{"away", "back"},
		},
		{
			name:    "Go: the correct way, ten times",
			command: "setnsgo -repeat 10 clean $N", steps: []string{"away", "back", "done"},
		},
		{
			name:    "Go: the runtime ends the thread",
			command: "setnsgo locked-exit $N", steps: []string{"ending-locked", "done"},
		},
		{
			name:    "Go: a thread lives there on purpose",
			command: "setnsgo stay $N", stranded: 1, steps: []string{"away"},
		},
	}
}

func TestThreadFaultsStrandTheThreadsTheySay(t *testing.T) {
	onKernels(t, lab.KernelNames(), func(t *testing.T, cache lab.Cache, kernel lab.Kernel) {
		clone, err := lab.BuildC(t.Context(), cache, "setnsclone")
		if err != nil {
			t.Fatal(err)
		}
		setnsgo, err := lab.BuildGo(t.Context(), cache, "setnsgo")
		if err != nil {
			t.Fatal(err)
		}
		vm := boot(t, lab.Config{Cache: cache, Kernel: kernel, Files: map[string]string{
			"/usr/bin/setnsclone": filepath.Join(clone, "setnsclone"),
			"/usr/bin/setnsgo":    setnsgo,
		}})
		sh(t, vm, "ip netns add other")
		for _, fault := range threadFaults() {
			t.Run(fault.name, func(t *testing.T) { checkThreadFault(t, vm, fault) })
		}
	})
}

// checkThreadFault starts the fault, waits for its steps and looks where its threads
// are.
func checkThreadFault(t *testing.T, vm *lab.VM, fault threadFault) {
	out := sh(t, vm, `
		N=/run/netns/other
		`+fault.command+` > /tmp/out 2>&1 &
		echo "started pid=$! other=$(stat -L -c %i $N)"
		for step in `+strings.Join(fault.steps, " ")+`; do
			tries=0
			until grep -q "^$step " /tmp/out; do
				tries=$((tries + 1))
				[ $tries -lt 600 ] || { echo "no step $step in:"; cat /tmp/out; exit 1; }
				sleep 0.1
			done
		done
		cat /tmp/out`)
	started := steps(out, "started")[0]
	pid, other := field(started, "pid"), field(started, "other")
	defer sh(t, vm, "kill -TERM "+pid+"; while kill -0 "+pid+" 2>/dev/null; do sleep 0.1; done")

	var stranded []string
	// A thread says that it ends before it has ended.
	for tries := 0; tries < 50; tries++ {
		stranded = threadsIn(t, vm, pid, other)
		if len(stranded) == fault.stranded || fault.orMore && len(stranded) > fault.stranded {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if len(stranded) < fault.stranded || len(stranded) > fault.stranded && !fault.orMore {
		t.Fatalf("%d threads are in the other namespace, want %d:\n%s", len(stranded), fault.stranded, out)
	}
	// What is said of clones is true: they are the ones that are there.
	for _, cloned := range steps(out, "cloned") {
		tid := field(cloned, "tid")
		gone := slices.Contains(fault.steps, "recovered") || slices.Contains(fault.steps, "exited")
		if slices.Contains(stranded, tid) == gone {
			t.Errorf("thread %s was cloned; in the other namespace are %v:\n%s", tid, stranded, out)
		}
	}
	for _, connect := range steps(out, "connect") {
		if got := field(connect, "result"); got != "ENETUNREACH" {
			t.Errorf("a connect in a namespace without routes gave %s", got)
		}
	}
}

// threadsIn returns the threads of a process whose network namespace has that inode.
func threadsIn(t *testing.T, vm *lab.VM, pid, inode string) []string {
	t.Helper()
	// One program for all: starting one for each of five thousand takes minutes.
	out := sh(t, vm, "stat -L -c '%i %n' /proc/"+pid+"/task/*/ns/net || true")
	var tids []string
	for line := range strings.Lines(out) {
		words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '/' || r == '\n' })
		// INODE proc PID task TID ns net
		if len(words) == 7 && words[0] == inode {
			tids = append(tids, words[4])
		}
	}
	return tids
}

func TestChurnIsHealthyAndLeavesNothing(t *testing.T) {
	onKernels(t, lab.KernelNames(), func(t *testing.T, cache lab.Cache, kernel lab.Kernel) {
		churn, err := lab.BuildGo(t.Context(), cache, "churn")
		if err != nil {
			t.Fatal(err)
		}
		vm := boot(t, lab.Config{
			Cache: cache, Kernel: kernel, Modules: []string{"veth"},
			Files: map[string]string{"/usr/bin/churn": churn},
		})
		out := sh(t, vm, "churn -pairs 3 -packets 20 -for 5s; ip -o link | grep -c cho || true; ip netns list")
		t.Log(strings.TrimSpace(out))
		lines := strings.Split(strings.TrimSpace(out), "\n")
		for _, count := range []string{"rounds", "windows", "forks", "messages"} {
			if got := field(lines[0], count); got == "" || got == "0" {
				t.Errorf("%s=%q in %q", count, got, lines[0])
			}
		}
		if len(lines) != 2 || lines[1] != "0" {
			t.Errorf("left behind: %q", lines[1:])
		}
	})
}
