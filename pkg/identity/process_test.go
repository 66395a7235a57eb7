// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func mkfifo(t *testing.T, path string) {
	t.Helper()
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestProcess(t *testing.T) {
	h := newHost(t)
	h.dockerContainer(redisID, "cache", "5f21b4aa09cd")
	h.process(process{
		pid: 4242, comm: "redis-server", netns: 4026532290, cgroup: dockerScope(redisID),
		start: 123456, threads: 5, exe: "/usr/local/bin/redis-server",
	})
	h.process(process{pid: 4243, tgid: 4242, comm: "bio_close_file", netns: 4026532290, cgroup: dockerScope(redisID)})
	h.process(process{pid: 66, comm: "evil) R 9 (9\nTgid:\t1", netns: hostNetns, cgroup: "0::/user.slice\n", start: 777})
	h.process(process{pid: 2, comm: "kthreadd", netns: hostNetns, cgroup: "0::/\n", start: 3})
	h.process(process{pid: 70, comm: "zombie", cgroup: "0::/\n"})
	h.remove("proc/70/ns/net")
	n := h.namer()
	boot := time.Unix(1700000000, 0)

	tests := []struct {
		name string
		pid  int
		want Process
	}{
		{"a container's", 4242, Process{
			PID: 4242, Comm: "redis-server", Exe: "/usr/local/bin/redis-server",
			Container:  Container{ID: redisID, Name: "cache", Runtime: RuntimeDocker},
			StartTicks: 123456, StartTime: boot.Add(1234560 * time.Millisecond), NetnsInode: 4026532290, Threads: 5,
		}},
		{"a name made to mislead", 66, Process{
			PID: 66, Comm: "evil) R 9 (9\nTgid:\t1", StartTicks: 777,
			StartTime: boot.Add(7770 * time.Millisecond), NetnsInode: hostNetns, Threads: 1,
		}},
		{"a kernel thread has no program", 2, Process{
			PID: 2, Comm: "kthreadd", StartTicks: 3, StartTime: boot.Add(30 * time.Millisecond), NetnsInode: hostNetns, Threads: 1,
		}},
		{"a zombie has no namespace", 70, Process{
			PID: 70, Comm: "zombie", StartTicks: 700, StartTime: boot.Add(7 * time.Second), Threads: 1,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := n.Process(test.pid)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Process(%d) (-want +got):\n%s", test.pid, diff)
			}
		})
	}
}

func TestProcessNetns(t *testing.T) {
	h := newHost(t)
	h.process(process{pid: 10, comm: "daemon", netns: hostNetns, threads: 2})
	inode, threads, err := h.namer().ProcessNetns(10)
	if inode != hostNetns || threads != 2 || err != nil {
		t.Errorf("it is in %d and has %d threads, %v; want %d, 2", inode, threads, err, hostNetns)
	}
}

func TestProcessErrors(t *testing.T) {
	h := newHost(t)
	h.process(process{pid: 10, comm: "daemon", netns: hostNetns})
	h.process(process{pid: 11, tgid: 10, comm: "worker", netns: hostNetns})
	h.process(process{pid: 12, comm: "odd", netns: hostNetns})
	h.write("proc/12/stat", "12 (odd) S 1 2 3\n")
	n := h.namer()

	for _, pid := range []int{999, 0, -1} {
		if _, err := n.Process(pid); !errors.Is(err, ErrNoProcess) {
			t.Errorf("Process(%d): %v, want ErrNoProcess", pid, err)
		}
		if _, _, err := n.ProcessNetns(pid); !errors.Is(err, ErrNoProcess) {
			t.Errorf("ProcessNetns(%d): %v, want ErrNoProcess", pid, err)
		}
	}
	_, err := n.Process(11)
	var notLeader NotLeaderError
	if !errors.As(err, &notLeader) || notLeader != (NotLeaderError{TID: 11, TGID: 10}) {
		t.Errorf("Process(11), a thread of 10: %v", err)
	}
	if _, err := n.Process(12); !errors.Is(err, errMalformed) || errors.Is(err, ErrNoProcess) {
		t.Errorf("Process(12) with a stat file cut short: %v", err)
	}
}

func TestBootTimeUnknown(t *testing.T) {
	h := newHost(t)
	h.remove("proc/stat")
	got, err := h.namer().Process(1)
	if err != nil {
		t.Fatal(err)
	}
	if !got.StartTime.IsZero() || got.StartTicks != 10 {
		t.Errorf("started at %v, tick %d; want the zero time, tick 10", got.StartTime, got.StartTicks)
	}
}

func TestProcessLiveSelf(t *testing.T) {
	n := New("")
	got, err := n.Process(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got.Exe != exe {
		t.Errorf("program %q, want %q", got.Exe, exe)
	}
	if age := time.Since(got.StartTime); age < -2*time.Second || age > time.Hour {
		t.Errorf("started %v ago at %v: test binaries run for seconds", age, got.StartTime)
	}
	if got.Threads < 1 || got.NetnsInode == 0 || got.Comm == "" {
		t.Errorf("incomplete: %+v", got)
	}
	var thread NotLeaderError
	for _, tid := range tasks(t) {
		if tid == got.PID {
			continue
		}
		_, err := n.Process(tid)
		if errors.Is(err, ErrNoProcess) {
			continue // ended in between
		}
		if !errors.As(err, &thread) || thread.TGID != got.PID {
			t.Errorf("thread %d: %v, want a NotLeaderError naming %d", tid, err, got.PID)
		}
	}
}
