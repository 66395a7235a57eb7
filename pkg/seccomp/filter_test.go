// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package seccomp

import (
	"testing"

	"golang.org/x/sys/unix"
)

// run is what the kernel does with a program that assemble makes.
func run(program []unix.SockFilter, architecture, call uint32, arguments ...uint32) uint32 {
	data := map[uint32]uint32{offsetCall: call, offsetArchitecture: architecture}
	for i, a := range arguments {
		data[offsetArguments+8*uint32(i)] = a
	}
	var a uint32
	for at := 0; ; at++ {
		switch i := program[at]; i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = data[i.K]
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= i.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			if a == i.K {
				at += int(i.Jt)
			} else {
				at += int(i.Jf)
			}
		default:
			return i.K
		}
	}
}

func TestFilter(t *testing.T) {
	const pid, refuse = 77, unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	program := assemble(architecture, rules(pid), refuse)
	if len(program) > 4096 {
		t.Fatalf("%d instructions, the kernel takes 4096", len(program))
	}
	if got := run(program, unix.AUDIT_ARCH_I386, unix.SYS_READ); got != unix.SECCOMP_RET_KILL_PROCESS {
		t.Errorf("a call of another architecture: %#x", got)
	}
	const allow = unix.SECCOMP_RET_ALLOW
	for _, c := range []struct {
		what      string
		call      uint32
		arguments []uint32
		want      uint32
	}{
		{"the first of the list", calls[0], nil, allow},
		{"the last of the list", calls[len(calls)-1], nil, allow},
		{"read", unix.SYS_READ, nil, allow},
		{"execve", unix.SYS_EXECVE, nil, refuse},
		{"a thread, as Go makes it", unix.SYS_CLONE, []uint32{unix.CLONE_VM | unix.CLONE_THREAD}, allow},
		{"a process", unix.SYS_CLONE, []uint32{unix.CLONE_VM | unix.CLONE_VFORK}, refuse},
		{"clone3", unix.SYS_CLONE3, nil, unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{"memory", unix.SYS_MMAP, []uint32{0, 4096, unix.PROT_READ | unix.PROT_WRITE}, allow},
		{"memory to run", unix.SYS_MMAP, []uint32{0, 4096, unix.PROT_READ | unix.PROT_EXEC}, refuse},
		{"a signal to itself", unix.SYS_TGKILL, []uint32{pid}, allow},
		{"a signal to another", unix.SYS_TGKILL, []uint32{pid + 1}, refuse},
		{"the last of three tests", unix.SYS_SOCKET, []uint32{unix.AF_INET6}, allow},
		{"a packet socket", unix.SYS_SOCKET, []uint32{unix.AF_PACKET}, refuse},
		{"a perf event's ioctl", unix.SYS_IOCTL, []uint32{3, unix.PERF_EVENT_IOC_SET_BPF}, allow},
		{"TIOCSTI", unix.SYS_IOCTL, []uint32{0, unix.TIOCSTI}, refuse},
		{"a call of x32", unix.SYS_READ | 0x40000000, nil, refuse},
	} {
		if got := run(program, architecture, c.call, c.arguments...); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.what, got, c.want)
		}
	}
}
