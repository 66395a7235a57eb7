// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"bufio"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
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
	path, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("skipping: util-linux's unshare is not installed")
	}
	// The shell prints when it is inside, and ends when its input does.
	cmd := exec.CommandContext(t.Context(), path, "-n", "sh", "-c", "echo in; read line")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("skipping: cannot run unshare: %v", err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "in\n" {
		t.Skipf("skipping: unshare -n is not permitted here (%q, %v)", line, err)
	}
	target, err := os.Readlink("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/ns/net")
	if err != nil {
		t.Skipf("skipping: cannot read a child's namespaces: %v", err)
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
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// Never unlocked: the runtime ends the thread with the goroutine, so
		// that no other test runs in its namespace.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		entered <- stray{unix.Gettid(), err}
		<-done
	}()
	defer func() { close(done); <-ended }()
	thread := <-entered
	if thread.err != nil {
		t.Skipf("skipping: cannot make a network namespace: %v", thread.err)
	}
	if thread.tid == os.Getpid() {
		t.Skip("skipping: the goroutine got the main thread, whose namespace is the process's")
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
