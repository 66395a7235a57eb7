// SPDX-License-Identifier: Apache-2.0

package seccomp

import "golang.org/x/sys/unix"

// rule lets one system call through: always, or when a test of an argument holds.
type rule struct {
	call  uint32
	tests []test // one of them must hold; none: always
	// errno is what is returned when no test holds; 0: what calls without a rule get.
	errno uint32
}

// test holds when the lower half of an argument, masked, is a value. What is tested
// are ints, and flags below bit 32.
type test struct {
	argument int
	mask     uint32
	value    uint32
}

// Offsets in struct seccomp_data (linux/seccomp.h). Both architectures that have a
// filter are little-endian: the lower half of an argument comes first.
const (
	offsetCall         = 0
	offsetArchitecture = 4
	offsetArguments    = 16
)

// assemble makes the program that the kernel runs at each system call: refuse is what
// it returns for a call that no rule lets through. Rules are tried in their order.
func assemble(architecture uint32, rules []rule, refuse uint32) []unix.SockFilter {
	program := []unix.SockFilter{
		load(offsetArchitecture),
		// A call of another architecture has other numbers; this program makes none.
		equal(architecture, 1, 0), result(unix.SECCOMP_RET_KILL_PROCESS),
		load(offsetCall),
	}
	for _, r := range rules {
		body := r.body(refuse)
		program = append(program, equal(r.call, 0, uint8(len(body))))
		program = append(program, body...)
	}
	return append(program, result(refuse))
}

// body is what is run for the rule's call. It always ends in a result, so the number
// of the call that it loads over is not missed.
func (r rule) body(refuse uint32) []unix.SockFilter {
	if len(r.tests) == 0 && r.errno == 0 {
		return []unix.SockFilter{result(unix.SECCOMP_RET_ALLOW)}
	}
	var body []unix.SockFilter
	for _, t := range r.tests {
		body = append(body,
			load(offsetArguments+8*uint32(t.argument)),
			unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: t.mask},
			equal(t.value, 0, 1), result(unix.SECCOMP_RET_ALLOW))
	}
	if r.errno != 0 {
		refuse = unix.SECCOMP_RET_ERRNO | r.errno
	}
	return append(body, result(refuse))
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

// equal skips so many instructions when what is loaded is the value, and so many when not.
func equal(value uint32, skip, skipElse uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: skip, Jf: skipElse, K: value}
}

func result(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}
