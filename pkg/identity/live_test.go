// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// tasks lists this process's threads.
func tasks(t *testing.T) []int {
	t.Helper()
	var tids []int
	eachName("/proc/self/task", 1<<16, func(name string) {
		if tid, err := strconv.Atoi(name); err == nil {
			tids = append(tids, tid)
		}
	})
	return tids
}

func threadNetns(t *testing.T, tid int) uint32 {
	t.Helper()
	target, err := os.Readlink("/proc/self/task/" + strconv.Itoa(tid) + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	inode, ok := parseNetLink(target)
	if !ok {
		t.Fatalf("/proc/self/task/%d/ns/net is %q", tid, target)
	}
	return inode
}

// sleeper runs a process in a new network namespace until the test ends.
func sleeper(t *testing.T) (pid int, inode uint32) {
	t.Helper()
	// It ends when its input does, and Start returns when it is inside.
	cmd := exec.CommandContext(t.Context(), "cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	err = cmd.Start()
	if errors.Is(err, unix.EPERM) {
		t.Skipf("skipping: making a network namespace takes CAP_SYS_ADMIN: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	target, err := os.Readlink("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	inode, ok := parseNetLink(target)
	if !ok {
		t.Fatalf("the child's namespace is %q", target)
	}
	return cmd.Process.Pid, inode
}

func TestLiveNamespaceOfAChildIsFoundByWalkingProc(t *testing.T) {
	pid, inode := sleeper(t)
	got, ok := New("").Netns(inode)
	if !ok || !slices.Contains(got.Pids, pid) || got.Gone {
		t.Errorf("Netns(%d) = %+v, %v; process %d lives there", inode, got, ok, pid)
	}
	process, err := New("").Process(pid)
	if err != nil || process.NetnsInode != inode {
		t.Errorf("Process(%d) = %+v, %v; want namespace %d", pid, process, err, inode)
	}
}

func TestLiveNamespaceOfAStrayThreadIsFoundThroughAHint(t *testing.T) {
	type stray struct {
		tid int
		err error
	}
	entered, done := make(chan stray), make(chan struct{})
	var threads sync.WaitGroup
	defer threads.Wait()
	defer close(done)
	enter := func() {
		// Unlocked only when it has not moved: the runtime ends the thread with the
		// goroutine, so that no other test runs in its namespace.
		runtime.LockOSThread()
		s := stray{tid: unix.Gettid()}
		if s.tid == os.Getpid() {
			defer runtime.UnlockOSThread()
		} else {
			s.err = unix.Unshare(unix.CLONE_NEWNET)
		}
		entered <- s
		<-done
	}
	threads.Go(enter)
	thread := <-entered
	if thread.tid == os.Getpid() {
		// The main thread's namespace is the process's. It is taken: the next is another.
		threads.Go(enter)
		thread = <-entered
	}
	if errors.Is(thread.err, unix.EPERM) {
		t.Skipf("skipping: making a network namespace takes CAP_SYS_ADMIN: %v", thread.err)
	}
	if thread.err != nil {
		t.Fatal(thread.err)
	}
	inode := threadNetns(t, thread.tid)
	if inode == threadNetns(t, os.Getpid()) {
		t.Fatal("unshare left the thread where it was")
	}
	if got, ok := New("").Netns(inode); ok {
		t.Errorf("Netns(%d) without a hint = %+v: a walk lists leaders only", inode, got)
	}
	got, ok := New("").Netns(inode, thread.tid)
	if !ok || !slices.Equal(got.Pids, []int{thread.tid}) {
		t.Errorf("Netns(%d, %d) = %+v, %v; the thread lives there", inode, thread.tid, got, ok)
	}
	if got.Container != (Container{}) {
		t.Errorf("the namespace is ascribed to %+v on the word of a stray thread", got.Container)
	}
}

func TestLiveStatTellsNamespacesFromFiles(t *testing.T) {
	stat := newNsfsStat()
	want := threadNetns(t, os.Getpid())
	if got, ok := stat("/proc/self/ns/net"); !ok || got.inode != want || got.born == 0 {
		t.Errorf("stat of our namespace = %+v, %v; want inode %d and a time", got, ok, want)
	}
	plain := t.TempDir() + "/stale"
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{plain, "/proc/self/stat", "/nonexistent"} {
		if got, ok := stat(path); ok {
			t.Errorf("%s is taken for namespace %+v", path, got)
		}
	}
}
