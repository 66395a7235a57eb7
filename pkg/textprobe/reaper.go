// SPDX-License-Identifier: Apache-2.0

package textprobe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/kernel"
)

var (
	// errNoReaper says that the reaper is not built for this architecture.
	errNoReaper = errors.New("no program to delete kprobe events later")
	// errNoProcess says that it was not started.
	errNoProcess = errors.New("no process outlives this one")
)

// reaper is a process that deletes the definitions of this one, later.
type reaper struct {
	closed *os.File // eventfd
	kept   *os.File // socket: what is sent there it closes when it begins
}

// startReaper starts a process that waits for this process to end, or for begin, and
// then deletes the kprobe events whose lines in the kernel's list begin with prefix. If
// it is to serve, the prefix ends in the letter of the first set and a _; then it
// deletes at each begin those of one letter, and all at the end of this process. It is
// nobody's child when this returns.
func startReaper(list, prefix string, serve bool) (*reaper, error) {
	argv := []string{"netns-trace: deletes kprobe events", prefix}
	if serve {
		argv = append(argv, "serve")
	}
	r, err := tryReaper(list, argv)
	if err != nil {
		return nil, fmt.Errorf("starting the process that deletes kprobe events later: %w", err)
	}
	return r, nil
}

func tryReaper(list string, argv []string) (_ *reaper, err error) {
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
	kept, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	inherited = append(inherited, theirs)
	defer func() {
		if err != nil {
			kept.Close()
		}
	}()
	program, err := reaperFile()
	if err != nil {
		return nil, err
	}
	defer program.Close()
	process, err := os.StartProcess(fmt.Sprintf("/proc/self/fd/%d", program.Fd()), argv,
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
	return &reaper{closed: closed, kept: kept}, nil
}

// keep has it keep descriptors open until it begins. They are in the socket by then and
// not among its own: it need not even know of them.
func (r *reaper) keep(fds []int) error {
	return unix.Sendmsg(int(r.kept.Fd()), []byte{0}, unix.UnixRights(fds...), nil, unix.MSG_DONTWAIT)
}

func (r *reaper) close() error { return errors.Join(r.closed.Close(), r.kept.Close()) }

// begin lets it begin, since nothing uses the events any more.
func (r *reaper) begin() error {
	_, err := r.closed.Write([]byte{1, 0, 0, 0, 0, 0, 0, 0}) // in the order of bytes of all machines that have a reaper
	return err
}

// Reaper serves sets that one process opens and closes one after another: their
// definitions are deleted by one process, which the first Open starts, or Start. So the
// later ones can be opened where no process may be started any more. And it closes, when
// this process has ended, what nobody shall wait for. The zero value is ready.
type Reaper struct {
	process *reaper
	closed  int    // sets
	list    string // the kernel's
	prefix  string // of the lines that are this process's
}

// Start starts the process, if no set has: where none will be opened, Leave needs it too.
func (r *Reaper) Start() error {
	if r.process != nil {
		return nil
	}
	tracefs, err := kernel.FindTracefs()
	if err != nil {
		return err
	}
	g, name, err := ownNames(defaultName)
	if err == nil {
		_, err = r.use(tracefs.Path, g, name)
	}
	return err
}

// Leave leaves descriptors, 253 at most, to the process: it closes them once this one has
// ended. To close them here costs nothing then, and nobody waits for what their last
// close takes. It is an error if there is no such process.
func (r *Reaper) Leave(fds []int) error {
	if r.process == nil {
		return errNoProcess
	}
	if err := r.process.keep(fds); err != nil {
		return fmt.Errorf("leaving %d descriptors to be closed later: %w", len(fds), err)
	}
	return nil
}

// use returns what tells the definitions of the next set, in group g with names that
// begin with name, from those of the sets before, which may be still there.
func (r *Reaper) use(tracefs string, g group, name string) (letter string, err error) {
	letter = string(rune('A' + r.closed%26))
	if r.process != nil {
		return letter, nil
	}
	r.list, r.prefix = filepath.Join(tracefs, "kprobe_events"), fmt.Sprintf("p:%s/%s_", g, name)
	if r.process, err = startReaper(r.list, r.prefix+letter+"_", true); err != nil {
		return "", err
	}
	return letter, reapStale(tracefs)
}

// done lets the definitions of the last set be deleted.
func (r *Reaper) done() error {
	if r.process == nil {
		return nil
	}
	r.closed++
	return r.process.begin()
}

// Wait waits until the definitions of all closed sets are deleted, or until ctx ends,
// which is an error: for where the process that deletes them may not outlive this one,
// as in a container with the host's process ids.
func (r *Reaper) Wait(ctx context.Context) error {
	for r.process != nil {
		text, err := os.ReadFile(r.list)
		if err != nil {
			return fmt.Errorf("looking whether kprobe events are deleted: %w", err)
		}
		if !strings.Contains("\n"+string(text), "\n"+r.prefix) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for kprobe events to be deleted: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// Close frees what this process has of it. What it has to delete it deletes.
func (r *Reaper) Close() error {
	if r.process == nil {
		return nil
	}
	err := r.process.close()
	r.process = nil
	return err
}

// reapStale has the groups of dead processes deleted in the background.
func reapStale(tracefs string) error {
	names, err := stale(tracefs)
	if err != nil {
		return fmt.Errorf("looking for stale kprobe events: %w", err)
	}
	for _, name := range names {
		r, err := startReaper(filepath.Join(tracefs, "kprobe_events"), "p:"+name+"/", false)
		if err != nil {
			return err
		}
		if err := errors.Join(r.begin(), r.close()); err != nil {
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

func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a pair of sockets: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "kept"), os.NewFile(uintptr(fds[1]), "kept"), nil
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
