// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package seccomp

import (
	"slices"

	"golang.org/x/sys/unix"
)

// calls are allowed with all arguments. The most frequent come first: before 5.11
// (8e01b51a31a1) the kernel runs the filter at each of them.
var calls = []uint32{
	// Go's runtime: threads, timers, memory, signals.
	unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_EPOLL_PWAIT, unix.SYS_SCHED_YIELD, unix.SYS_GETPID, unix.SYS_GETTID,
	unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_MADVISE, unix.SYS_MUNMAP, unix.SYS_BRK, unix.SYS_MINCORE,
	unix.SYS_SIGALTSTACK, unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_RESTART_SYSCALL,
	unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_SET_TID_ADDRESS, unix.SYS_SCHED_GETAFFINITY, unix.SYS_GETTIMEOFDAY,
	unix.SYS_SETITIMER, unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_DELETE, // profiles
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EVENTFD2, unix.SYS_PIPE2, unix.SYS_GETRANDOM,
	unix.SYS_GETRUSAGE, unix.SYS_GETRLIMIT, unix.SYS_UNAME, unix.SYS_SYSINFO,
	unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_CAPGET,

	// Files: /proc, tracefs, the kernel's text, settings, tokens, certificates, the log.
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_PREAD64, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_CLOSE, unix.SYS_OPENAT,
	unix.SYS_OPENAT2, unix.SYS_KCMP, unix.SYS_LSEEK, unix.SYS_FSTAT, unix.SYS_STATX, unix.SYS_GETDENTS64, unix.SYS_READLINKAT, unix.SYS_FACCESSAT,
	unix.SYS_FACCESSAT2, unix.SYS_GETXATTR, unix.SYS_STATFS, unix.SYS_FSTATFS, unix.SYS_GETCWD, unix.SYS_FCNTL, unix.SYS_DUP, unix.SYS_DUP3,

	// Tracing: maps, and programs of modules that are loaded later.
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN,

	// The listener, collectors, names of hosts, systemd.
	unix.SYS_CONNECT, unix.SYS_ACCEPT4, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_SETSOCKOPT,
	unix.SYS_GETSOCKOPT, unix.SYS_SHUTDOWN, unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_SENDMSG, unix.SYS_RECVMSG,
}

// rules are those of this architecture; pid is this process.
func rules(pid uint32) []rule {
	var out []rule
	for _, call := range slices.Concat(calls, architectureCalls) {
		out = append(out, rule{call: call})
	}
	return append(out, conditional(pid)...)
}

// conditional are those that are allowed with some arguments only.
func conditional(pid uint32) []rule {
	noCode := []test{{argument: 2, mask: unix.PROT_EXEC, value: 0}}
	return []rule{
		{call: unix.SYS_MMAP, tests: noCode},
		{call: unix.SYS_MPROTECT, tests: noCode},
		// Threads, no processes.
		{call: unix.SYS_CLONE, tests: []test{{argument: 0, mask: unix.CLONE_THREAD, value: unix.CLONE_THREAD}}},
		// Its flags are in memory, where a filter cannot look; a C library then takes clone.
		{call: unix.SYS_CLONE3, errno: uint32(unix.ENOSYS)},
		// Signals to itself only: to preempt goroutines.
		{call: unix.SYS_TGKILL, tests: []test{{argument: 0, mask: ^uint32(0), value: pid}}},
		// The limits of this process: how many files, and before 5.11 how much locked memory.
		{call: unix.SYS_PRLIMIT64, tests: []test{{argument: 0, mask: ^uint32(0), value: 0}, {argument: 0, mask: ^uint32(0), value: pid}}},
		{call: unix.SYS_SOCKET, tests: []test{
			{argument: 0, mask: ^uint32(0), value: unix.AF_UNIX},
			{argument: 0, mask: ^uint32(0), value: unix.AF_INET},
			{argument: 0, mask: ^uint32(0), value: unix.AF_INET6},
		}},
		// Perf events', and whether something is a terminal: not TIOCSTI, which types into it.
		{call: unix.SYS_IOCTL, tests: []test{
			{argument: 1, mask: 0xff00, value: '$' << 8},
			{argument: 1, mask: ^uint32(0), value: unix.TCGETS},
		}},
		// Names of mappings, which Go's runtime may give.
		{call: unix.SYS_PRCTL, tests: []test{{argument: 0, mask: ^uint32(0), value: unix.PR_SET_VMA}}},
	}
}
