// SPDX-License-Identifier: Apache-2.0

package textprobe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// errNoReaper says that the reaper is not built for this architecture.
var errNoReaper = errors.New("no program to delete kprobe events later")

// reaper is a process that deletes the definitions of this one, later.
type reaper struct {
	closed *os.File // eventfd
}

// startReaper starts a process that waits for this process to end, or for begin, and
// then deletes the kprobe events whose lines in the kernel's list begin with prefix.
// It is nobody's child when this returns.
func startReaper(list, prefix string) (*reaper, error) {
	r, err := tryReaper(list, prefix)
	if err != nil {
		return nil, fmt.Errorf("starting the process that deletes kprobe events later: %w", err)
	}
	return r, nil
}

func tryReaper(list, prefix string) (_ *reaper, err error) {
	var inherited []*os.File
	defer func() {
		for _, f := range inherited {
			f.Close()
		}
	}()
	keep := func(f *os.File, err error) error {
		if err == nil {
			inherited = append(inherited, f)
		}
		return err
	}
	for range 3 {
		if err := keep(os.OpenFile(os.DevNull, os.O_RDWR, 0)); err != nil {
			return nil, err
		}
	}
	if err := keep(openPidfd()); err != nil {
		return nil, err
	}
	if err := keep(newEventfd()); err != nil {
		return nil, err
	}
	if err := keep(os.Open(list)); err != nil {
		return nil, err
	}
	if err := keep(os.OpenFile(list, os.O_WRONLY|os.O_APPEND, 0)); err != nil {
		return nil, err
	}
	program, err := reaperFile()
	if err != nil {
		return nil, err
	}
	defer program.Close()
	process, err := os.StartProcess(fmt.Sprintf("/proc/self/fd/%d", program.Fd()),
		[]string{"netns-trace: deletes kprobe events", prefix},
		&os.ProcAttr{Files: inherited, Env: []string{}})
	if err != nil {
		return nil, err
	}
	state, err := process.Wait() // it forks, and ends
	if err != nil {
		return nil, err
	}
	if !state.Success() {
		return nil, fmt.Errorf("it did not start: %s", state)
	}
	const eventfdAt = 4
	closed := inherited[eventfdAt]
	inherited[eventfdAt] = nil
	return &reaper{closed}, nil
}

// begin lets it begin, since nothing uses the events any more.
func (r *reaper) begin() error {
	_, err := r.closed.Write([]byte{1, 0, 0, 0, 0, 0, 0, 0}) // in the order of bytes of all machines that have a reaper
	return errors.Join(err, r.closed.Close())
}

// reapStale has the groups of dead processes deleted in the background.
func reapStale(tracefs string) error {
	names, err := stale(tracefs)
	if err != nil {
		return fmt.Errorf("looking for stale kprobe events: %w", err)
	}
	for _, name := range names {
		r, err := startReaper(filepath.Join(tracefs, "kprobe_events"), "p:"+name+"/")
		if err != nil {
			return err
		}
		if err := r.begin(); err != nil {
			return fmt.Errorf("having stale kprobe events deleted: %w", err)
		}
	}
	return nil
}

func openPidfd() (*os.File, error) {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return nil, fmt.Errorf("opening a descriptor of this process: %w", err)
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

func newEventfd() (*os.File, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making an eventfd: %w", err)
	}
	return os.NewFile(uintptr(fd), "eventfd"), nil
}

// reaperFile returns the reaper's program as a file that is in no file system.
func reaperFile() (*os.File, error) {
	if len(reaperProgram) == 0 {
		return nil, errNoReaper
	}
	// A process forked meanwhile would have it open for writing, and the kernel
	// executes no such file.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	// Since 6.3 a sysctl may make such files not executable unless asked for.
	fd, err := unix.MemfdCreate("netns-trace-reaper", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate("netns-trace-reaper", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("making a file in memory: %w", err)
	}
	written := os.NewFile(uintptr(fd), "reaper")
	defer written.Close()
	if _, err := written.WriteString(reaperProgram); err != nil {
		return nil, fmt.Errorf("writing a file in memory: %w", err)
	}
	program, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, fmt.Errorf("opening a file in memory: %w", err)
	}
	defer program.Close()
	// Away from the numbers that the process is to inherit as.
	high, err := unix.FcntlInt(program.Fd(), unix.F_DUPFD_CLOEXEC, 64)
	if err != nil {
		return nil, fmt.Errorf("opening a file in memory: %w", err)
	}
	return os.NewFile(uintptr(high), "reaper"), nil
}
