// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// descriptor gives a thread of the tree an open file.
func (h *host) descriptor(pid, tid, fd int, target string) {
	h.tb.Helper()
	h.link(fmt.Sprintf("proc/%d/task/%d/fd/%d", pid, tid, fd), target)
}

func TestSocketsNameEveryOwner(t *testing.T) {
	h := newHost(t)
	// nginx: master and worker have the listening socket; threads 301 and 302
	// share the worker's table, 303 has one of its own.
	h.descriptor(299, 299, 6, "socket:[7001]")
	h.descriptor(300, 300, 6, "socket:[7001]")
	h.descriptor(300, 300, 9, "socket:[7001]")
	h.descriptor(300, 300, 1, "/dev/null")
	h.descriptor(300, 300, 2, "pipe:[7001]")
	h.descriptor(300, 301, 6, "socket:[7001]")
	h.descriptor(300, 302, 6, "socket:[7001]")
	h.descriptor(300, 303, 4, "socket:[7002]")
	// The first thread has ended, the second lives.
	h.write("proc/400/task/400/fd/.none", "")
	h.remove("proc/400/task/400/fd/.none")
	h.descriptor(400, 401, 3, "socket:[7003]")
	h.descriptor(500, 500, 3, "net:[4026531840]")

	shares := func(a, b int) bool { return a >= 300 && a <= 302 && b >= 300 && b <= 302 }
	got, err := readSockets(t.Context(), h.root+"/proc", shares, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[uint64][]Descriptor{
		7001: {{299, 299, 6}, {300, 300, 6}, {300, 300, 9}},
		7002: {{300, 303, 4}},
		7003: {{400, 401, 3}},
	}
	for inode, owners := range want {
		if diff := cmp.Diff(owners, got.Owners(inode)); diff != "" {
			t.Errorf("socket %d (-want +got):\n%s", inode, diff)
		}
	}
	if got.Len() != len(want) {
		t.Errorf("%d sockets, want %d", got.Len(), len(want))
	}
	if got.Owners(7999) != nil {
		t.Error("a socket that nobody has open has owners")
	}

	only, err := readSockets(t.Context(), h.root+"/proc", shares, func(inode uint64) bool { return inode == 7003 })
	if err != nil {
		t.Fatal(err)
	}
	if only.Len() != 1 || only.Owners(7003) == nil {
		t.Errorf("asked for socket 7003 alone: %v", only.owners)
	}
}

func TestSocketsAreBounded(t *testing.T) {
	s := &Sockets{owners: make(map[uint64][]Descriptor)}
	for i := range 2 * maxOwners {
		s.note(1, Descriptor{PID: i + 1, TID: i + 1})
	}
	if n := len(s.Owners(1)); n != maxOwners {
		t.Errorf("%d owners of one socket are remembered, want %d", n, maxOwners)
	}
	for inode := range uint64(maxSockets + 10) {
		s.note(inode+1, Descriptor{PID: 1, TID: 1})
	}
	if s.Len() != maxSockets || s.Dropped != 10 {
		t.Errorf("%d sockets remembered and %d dropped, want %d and 10", s.Len(), s.Dropped, maxSockets)
	}
}

func TestSocketsOfNoProc(t *testing.T) {
	if _, err := New(t.TempDir()).Sockets(t.Context(), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want that there is no such directory", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New("").Sockets(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that it was cancelled", err)
	}
}

func TestSocketsOfThisProcess(t *testing.T) {
	socket := func() (fd int, inode uint64) {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			t.Fatal(err)
		}
		return fd, st.Ino
	}
	shared, sharedInode := socket()
	type own struct {
		tid, fd int
		inode   uint64
		err     error
	}
	made, done := make(chan own), make(chan struct{})
	go func() {
		// The thread is not given back: it ends with this goroutine.
		runtime.LockOSThread()
		o := own{tid: unix.Gettid()}
		if o.err = unix.Unshare(unix.CLONE_FILES); o.err == nil {
			o.fd, o.err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		}
		var st unix.Stat_t
		if o.err == nil {
			o.err = unix.Fstat(o.fd, &st)
		}
		o.inode = st.Ino
		made <- o
		<-done
	}()
	defer close(done)
	thread := <-made
	if thread.err != nil {
		t.Fatal(thread.err)
	}
	got, err := New("").Sockets(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	pid := os.Getpid()
	if want := (Descriptor{PID: pid, TID: thread.tid, FD: thread.fd}); !slices.Contains(got.Owners(thread.inode), want) {
		t.Errorf("owners of the thread's own socket: %v, want %v", got.Owners(thread.inode), want)
	}
	all := got.Owners(sharedInode)
	// The thread with a table of its own has a copy of it. All others share one.
	if len(all) != 2 {
		t.Errorf("owners of the shared socket: %v, want one of the shared table and one of thread %d", all, thread.tid)
	}
	if !slices.ContainsFunc(all, func(d Descriptor) bool { return d.PID == pid && d.FD == shared && d.TID != thread.tid }) {
		t.Errorf("owners of the shared socket: %v, want descriptor %d of pid %d", all, shared, pid)
	}
}

func FuzzSocketLink(f *testing.F) {
	f.Add([]byte("socket:[4026]"))
	f.Add([]byte("socket:[0]"))
	f.Add([]byte("socket:[99999999999999999999]"))
	f.Add([]byte("anon_inode:[eventpoll]"))
	f.Fuzz(func(t *testing.T, target []byte) {
		if inode, ok := socketInode(target); ok && inode == 0 {
			t.Errorf("socketInode(%q) = 0, true", target)
		}
	})
}

// BenchmarkSockets is one walk over this machine's own processes.
func BenchmarkSockets(b *testing.B) {
	n := New("")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := n.Sockets(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
	}
}
