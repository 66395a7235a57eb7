// SPDX-License-Identifier: Apache-2.0

// Package seccomp takes from this process the system calls that a service which has
// attached everything no longer makes. What is not allowed fails with EPERM or ends the
// process. It is for amd64 and arm64; elsewhere Install says that it has no filter.
package seccomp

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Mode is what happens at a call that is not allowed.
type Mode string

const (
	// Refuse fails the call with EPERM, and the kernel's log has it.
	Refuse Mode = "refuse"
	// Kill ends the process (SIGSYS).
	Kill Mode = "kill"
	// Log only has the kernel's log tell it: to see what a kernel or a setting needs.
	Log Mode = "log"
	// Off is no filter.
	Off Mode = "off"
)

// Modes are all of them.
func Modes() []string { return []string{string(Refuse), string(Kill), string(Log), string(Off)} }

// ErrNoFilter says that there is no list of calls for this architecture.
var ErrNoFilter = errors.New("no list of system calls for " + runtime.GOARCH)

// Install restricts all threads of the process, for ever, and sets no_new_privs. Off
// does nothing. Returns ErrNoFilter, or the kernel's error where it has no seccomp
// filters (CONFIG_SECCOMP_FILTER) or a container's profile forbids them.
func Install(mode Mode) error {
	if mode == Off {
		return nil
	}
	if architecture == 0 {
		return ErrNoFilter
	}
	program := assemble(architecture, rules(uint32(os.Getpid())), mode.action())
	// no_new_privs is the thread's that then installs the filter; with that the kernel
	// gives both to all the others.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("setting no_new_privs: %w", err)
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_LOG
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&filter)))
	switch {
	case errno != 0:
		return fmt.Errorf("restricting system calls: %w", errno)
	case thread != 0: // it has a filter that others have not
		return fmt.Errorf("restricting system calls: thread %d cannot take the filter", thread)
	}
	return nil
}

func (m Mode) action() uint32 {
	switch m {
	case Kill:
		return unix.SECCOMP_RET_KILL_PROCESS
	case Log:
		return unix.SECCOMP_RET_LOG
	}
	return unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
}
