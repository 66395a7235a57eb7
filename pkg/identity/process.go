// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoProcess says that no thread has the ID asked for, or no longer.
var ErrNoProcess = errors.New("no such process")

// NotLeaderError says that the ID asked for is that of a thread which is not
// its process's leader.
type NotLeaderError struct {
	TID  int // the ID asked for
	TGID int // the ID of the process it is a thread of
}

// Error implements error.
func (e NotLeaderError) Error() string {
	return fmt.Sprintf("%d is a thread of process %d", e.TID, e.TGID)
}

// Process is what /proc says of one process.
type Process struct {
	// PID is the process's ID, its leader's (the kernel's tgid), in the PID
	// namespace that /proc was mounted in.
	PID int
	// Comm is the leader's name, the bytes it chose itself: they may be
	// anything, control characters included.
	Comm string
	// Exe is the path of the program, with " (deleted)" after it when that
	// file is gone. The program chose these bytes too. Empty for kernel
	// threads and when access is refused.
	Exe string
	// Container is the container it belongs to.
	Container Container
	// StartTicks is when it started, in 1/100 s after boot. Together with PID
	// it identifies the process for the time since boot.
	StartTicks uint64
	// StartTime is the same in wall-clock time, right to about a second (the
	// kernel tells the time of boot in whole seconds). Zero if not known.
	StartTime time.Time
	// NetnsInode is its leader's network namespace: 0 when access is refused
	// or the process has ended and was not yet waited for.
	NetnsInode uint32
	// Threads is how many threads it has.
	Threads int
}

// Process describes the process pid as it is now: nothing of it is remembered
// but its container's name, since it may run another program the next moment
// and another process may have its ID.
//
// The error is ErrNoProcess, a NotLeaderError if pid is another thread's, or
// what the kernel answered.
func (n *Namer) Process(pid int) (Process, error) {
	dir, err := openProcess(n.proc, pid)
	if err != nil {
		return Process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	defer dir.close()
	tgid, err := dir.tgid()
	if err != nil {
		return Process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	if tgid != pid {
		return Process{}, NotLeaderError{TID: pid, TGID: tgid}
	}
	stat, err := dir.stat()
	if err != nil {
		return Process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	now := time.Now()
	process := Process{
		PID:        pid,
		Comm:       stat.comm,
		StartTicks: stat.start,
		StartTime:  n.boot.at(stat.start, now),
		Threads:    stat.threads,
	}
	// These are refused without CAP_SYS_PTRACE, or missing for a kernel
	// thread: no reason to keep back the rest.
	process.Exe, _ = dir.root.Readlink("exe")
	process.NetnsInode, _ = dir.netns()
	if container, ok := dir.container(); ok {
		process.Container = n.containers.describe(container, now).Container
	}
	return process, nil
}

// ProcessNetns is NetnsInode and Threads of Process, out of two files of /proc, for who
// asks often. The error is ErrNoProcess or what the kernel answered.
func (n *Namer) ProcessNetns(pid int) (inode uint32, threads int, err error) {
	dir, err := openProcess(n.proc, pid)
	if err != nil {
		return 0, 0, fmt.Errorf("process %d: %w", pid, err)
	}
	defer dir.close()
	stat, err := dir.stat()
	if err != nil {
		return 0, 0, fmt.Errorf("process %d: %w", pid, err)
	}
	inode, _ = dir.netns()
	return inode, stat.threads, nil
}

// processDir is an open /proc/PID. It stays that thread's: once the thread is
// gone everything in it fails, even if its ID was given to another. It holds
// no reference on the thread's namespaces.
type processDir struct{ root *os.Root }

func openProcess(proc string, pid int) (processDir, error) {
	if pid <= 0 {
		return processDir{}, ErrNoProcess
	}
	root, err := os.OpenRoot(filepath.Join(proc, strconv.Itoa(pid)))
	if err != nil {
		return processDir{}, gone(err)
	}
	return processDir{root}, nil
}

func (d processDir) close() { _ = d.root.Close() }

// gone turns the two ways in which /proc says that a thread ended, ENOENT when
// looking a file up and ESRCH when reading it, into ErrNoProcess.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return ErrNoProcess
	}
	return err
}

func (d processDir) read(name string) ([]byte, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, gone(err)
	}
	defer f.Close()
	data, err := readAll(f, maxProcFile)
	return data, gone(err)
}

func (d processDir) tgid() (int, error) {
	data, err := d.read("status")
	if err != nil {
		return 0, err
	}
	return parseTgid(data)
}

func (d processDir) stat() (procStat, error) {
	data, err := d.read("stat")
	if err != nil {
		return procStat{}, err
	}
	return parseStat(data)
}

func (d processDir) netns() (uint32, bool) {
	target, err := d.root.Readlink("ns/net")
	if err != nil {
		return 0, false
	}
	return parseNetLink(target)
}

func (d processDir) container() (Container, bool) {
	data, err := d.read("cgroup")
	if err != nil {
		return Container{}, false
	}
	return parseCgroup(data)
}
