// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A window is what every mode needs to go away and come home.
type window struct {
	home, away int // namespace file descriptors
	hold       time.Duration
	stop       <-chan struct{}
}

// leave enters the other namespace on the calling thread.
func (w window) leave() error {
	say("home", "%s", here())
	if err := unix.Setns(w.away, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the other namespace: %w", err)
	}
	say("away", "%s", here())
	return nil
}

func (w window) comeBack() error {
	if err := unix.Setns(w.home, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("going home: %w", err)
	}
	say("back", "%s", here())
	return nil
}

// work blocks in a system call, as work does: the thread stays this goroutine's
// even when nothing locks it.
func (w window) work() {
	left := unix.NsecToTimespec(w.hold.Nanoseconds())
	for unix.Nanosleep(&left, &left) == unix.EINTR {
	}
}

// unlockAway returns a thread to the scheduler in the wrong place: whatever runs
// on it next runs in the other namespace.
func unlockAway(w window) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := w.leave(); err != nil {
		return err
	}
	w.work()
	say("unlocked", "%s", here())
	return nil
}

// failedRestore has the shape of real code: the error of the setns home is logged,
// and the deferred unlock runs whatever happened.
func failedRestore(w window) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := w.leave(); err != nil {
		return err
	}
	w.work()
	const closed = 1 << 20 // above any limit on open files: never a descriptor
	if err := unix.Setns(closed, unix.CLONE_NEWNET); err != nil {
		say("restore-failed", "%s error=%s", here(), errnoName(err))
	}
	return nil
}

// noLock goes away and comes home, but nothing makes the two happen on the same
// thread. The other goroutines are what a busy daemon has: while this one is in a
// system call they take its processor, so it goes on elsewhere.
func noLock(w window) error {
	moved := make(chan struct{})
	var busy sync.WaitGroup
	for range 2 * runtime.GOMAXPROCS(0) {
		busy.Go(func() { spin(moved) })
	}
	defer busy.Wait()
	defer close(moved)

	if err := w.leave(); err != nil {
		return err
	}
	first := unix.Gettid()
	for range 1000 {
		w.work()
		if unix.Gettid() != first {
			return w.comeBack()
		}
		select {
		case <-w.stop:
			return nil
		default:
		}
	}
	return fmt.Errorf("the goroutine stayed on thread %d", first)
}

// spin keeps a processor busy until stop is closed.
func spin(stop <-chan struct{}) {
	for stopped := false; !stopped; {
		select {
		case <-stop:
			stopped = true
		default: // go on spinning: that is what this is for
		}
	}
}

func clean(w window) error {
	runtime.LockOSThread()
	if err := w.leave(); err != nil {
		return err
	}
	w.work()
	if err := w.comeBack(); err != nil {
		// Still locked: the runtime ends this thread with the goroutine.
		return err
	}
	runtime.UnlockOSThread()
	return nil
}

func lockedExit(w window) error {
	runtime.LockOSThread()
	if err := w.leave(); err != nil {
		return err
	}
	w.work()
	say("ending-locked", "%s", here())
	return nil
}

func stay(w window) error {
	runtime.LockOSThread()
	if err := w.leave(); err != nil {
		return err
	}
	<-w.stop
	return nil
}

// here names the calling thread and its namespace.
func here() string {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return fmt.Sprintf("tid=%d error=%s", unix.Gettid(), errnoName(err))
	}
	return fmt.Sprintf("tid=%d inode=%d", unix.Gettid(), st.Ino)
}

// say prints one line in one write, so that lines of two threads never mix.
func say(what, format string, args ...any) {
	fmt.Fprintf(os.Stdout, "%s %s\n", what, fmt.Sprintf(format, args...))
}

func parseAddr(addr string) (unix.Sockaddr, error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("parsing the address to connect to: %w", err)
	}
	if ap.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}, nil
	}
	return &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}, nil
}
