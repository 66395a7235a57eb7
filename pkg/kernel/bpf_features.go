// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

const unprivilegedBPFPath = "/proc/sys/kernel/unprivileged_bpf_disabled"

// The features are asked of the kernel and never concluded from its version:
// distributions backport, and configurations differ (Debian's 6.1 has no
// kprobe.multi because it has no FPROBE).

func haveRingBuffer() (bool, error) { return asked(features.HaveMapType(ebpf.RingBuf)) }

func haveTracingPrograms() (bool, error) { return asked(features.HaveProgramType(ebpf.Tracing)) }

func haveKprobeMulti() (bool, error) { return asked(features.HaveBPFLinkKprobeMulti()) }

// asked turns the answer of a feature test into a value: nil is yes, not
// supported is no, anything else (usually EPERM) is unknown.
func asked(answer error) (bool, error) {
	switch {
	case answer == nil:
		return true, nil
	case errors.Is(answer, ebpf.ErrNotSupported):
		return false, nil
	}
	return false, answer
}

// needsMemlock reports whether BPF memory counts against RLIMIT_MEMLOCK. 5.11
// moved it to the memory cgroup; the same release brought
// bpf_ktime_get_coarse_ns, which can be asked for without lowering the limit of
// this process, as a direct test would have to. A socket filter is asked
// because every kernel with BPF has that program type, kprobes or not.
func needsMemlock() (bool, error) {
	have, err := asked(features.HaveProgramHelper(ebpf.SocketFilter, asm.FnKtimeGetCoarseNs))
	return !have && err == nil, err
}

// Limit is a resource limit in bytes; all ones is no limit.
type Limit uint64

// String returns "unlimited" or the number of bytes.
func (l Limit) String() string {
	if uint64(l) == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return fmt.Sprintf("%d bytes", uint64(l))
}

func readMemlockLimit() (Limit, error) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &r); err != nil {
		return 0, fmt.Errorf("reading RLIMIT_MEMLOCK: %w", err)
	}
	return Limit(r.Cur), nil
}
