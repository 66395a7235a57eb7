// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// threadTimes adds up the CPU time of goroutines that have a thread of their own, one
// after another.
type threadTimes struct {
	mu    sync.Mutex
	ended time.Duration
	tid   int // of the one under way, 0: none
}

// begin gives the calling goroutine a thread of its own; the result is called when it is
// done.
func (t *threadTimes) begin() (end func()) {
	runtime.LockOSThread()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tid = unix.Gettid()
	before := threadTime(t.tid)
	t.ended -= before // what the thread did for others
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.ended += threadTime(t.tid)
		t.tid = 0
		runtime.UnlockOSThread()
	}
}

// total may be asked for while one is under way.
func (t *threadTimes) total() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tid == 0 {
		return t.ended
	}
	return t.ended + threadTime(t.tid)
}

// threadTime is the CPU time of a thread of this process, 0 if it cannot be told.
func threadTime(tid int) time.Duration {
	// MAKE_THREAD_CPUCLOCK of the kernel's posix-timers.h: ~tid, then CPUCLOCK_PERTHREAD
	// and CPUCLOCK_SCHED.
	const perThread, sched = 4, 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^tid<<3|perThread|sched), &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
