// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// maxTasks and maxDescriptors bound what is looked at of one process: as many
	// as the kernel can have been told to allow (pid_max; fs.nr_open's default).
	maxTasks       = maxPidLimit
	maxDescriptors = 1 << 20
	// maxTables is how many descriptor tables of one process are told apart. A
	// thread whose table is none of these is looked at for itself.
	maxTables = 16
)

// Descriptor is one open file of a task, in the numbers of the pid namespace that
// /proc was mounted in.
type Descriptor struct {
	// PID is the process.
	PID int
	// TID is the thread in whose table it is: PID, unless that thread has a table
	// of its own (unshare(CLONE_FILES)), or the first thread has ended.
	TID int
	// FD is its number in that table.
	FD int
}

// sharesFiles says whether two threads have one table of descriptors; false also
// when that cannot be told.
type sharesFiles func(a, b int) bool

// newSharesFiles asks the kernel, if the numbers in proc are those of our own pid
// namespace: for those kcmp(2) means.
func newSharesFiles(proc string) sharesFiles {
	if target, err := os.Readlink(filepath.Join(proc, "self")); err != nil || target != strconv.Itoa(os.Getpid()) {
		return func(int, int) bool { return false }
	}
	const kcmpFiles = 2 // KCMP_FILES of linux/kcmp.h
	return func(a, b int) bool {
		order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), kcmpFiles, 0, 0, 0)
		return errno == 0 && order == 0
	}
}

// descriptorWalk is one pass over the open files of every task.
type descriptorWalk struct {
	proc   string
	shares sharesFiles
	// use is given each descriptor and where its link leads, such as
	// "socket:[4026]"; the bytes are valid during the call.
	use func(d Descriptor, target []byte)

	processes int
	refused   int // processes of which some table could not be read
}

func (w *descriptorWalk) walk(ctx context.Context) error {
	if _, err := os.Stat(w.proc); err != nil {
		return fmt.Errorf("looking at the open files of all processes: %w", err)
	}
	eachName(w.proc, maxPidLimit, func(name string) {
		pid, err := strconv.Atoi(name)
		if err != nil || pid <= 0 || ctx.Err() != nil {
			return
		}
		w.process(ctx, pid)
	})
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("looking at the open files of all processes: %w", err)
	}
	return nil
}

// process looks at each table of descriptors once: nearly always the threads of a
// process share one. The first thread may have ended, and its table with it, while
// others live on.
func (w *descriptorWalk) process(ctx context.Context, pid int) {
	tasks := filepath.Join(w.proc, strconv.Itoa(pid), "task")
	var tables []int // a thread of each that was looked at
	refused := false
	eachName(tasks, maxTasks, func(name string) {
		tid, err := strconv.Atoi(name)
		if err != nil || ctx.Err() != nil {
			return
		}
		for _, known := range tables {
			if w.shares(known, tid) {
				return
			}
		}
		read, err := w.table(ctx, pid, tid, filepath.Join(tasks, name, "fd"))
		switch {
		case err != nil && !errors.Is(gone(err), ErrNoProcess):
			refused = true
		case read && len(tables) < maxTables:
			tables = append(tables, tid)
		}
	})
	w.processes++
	if refused {
		w.refused++
	}
}

// table reads one table, and says whether anything was in it: the kernel shows that
// of a thread that has ended as empty.
func (w *descriptorWalk) table(ctx context.Context, pid, tid int, path string) (read bool, err error) {
	dir, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	at := int(dir.Fd())
	var target [64]byte
	for left := maxDescriptors; left > 0 && ctx.Err() == nil; {
		names, err := dir.Readdirnames(min(1024, left))
		for _, name := range names {
			n, err := unix.Readlinkat(at, name, target[:])
			if err != nil {
				continue // closed meanwhile
			}
			if fd, err := strconv.Atoi(name); err == nil {
				read = true
				w.use(Descriptor{PID: pid, TID: tid, FD: fd}, target[:n])
			}
		}
		left -= len(names)
		if err != nil {
			break // the end, or the task's
		}
	}
	return read, nil
}

// parseNumbered reads the number in a link such as "socket:[4026]" when kind is
// "socket".
func parseNumbered(kind, target string) (uint64, bool) {
	rest, ok := strings.CutPrefix(target, kind)
	if !ok {
		return 0, false
	}
	number, ok := strings.CutPrefix(rest, ":[")
	if !ok {
		return 0, false
	}
	number, ok = strings.CutSuffix(number, "]")
	if !ok {
		return 0, false
	}
	inode, err := strconv.ParseUint(number, 10, 64)
	return inode, err == nil && inode != 0
}
