// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	bootIDPath       = "/proc/sys/kernel/random/boot_id"
	possibleCPUsPath = "/sys/devices/system/cpu/possible"
	realtimePath     = "/sys/kernel/realtime"
)

// maxCPUs is far above CONFIG_NR_CPUS of any kernel (8192).
const maxCPUs = 1 << 20

func release(u *unix.Utsname) []byte { return u.Release[:] }
func machine(u *unix.Utsname) []byte { return u.Machine[:] }
func version(u *unix.Utsname) []byte { return u.Version[:] }

func unameField(field func(*unix.Utsname) []byte) func() (string, error) {
	return func() (string, error) {
		var u unix.Utsname
		if err := unix.Uname(&u); err != nil {
			return "", fmt.Errorf("uname: %w", err)
		}
		return unix.ByteSliceToString(field(&u)), nil
	}
}

func readPossibleCPUs() (int, error) {
	text, err := readTrimmed(possibleCPUsPath)
	if err != nil {
		return 0, err
	}
	return parseCPUList(text)
}

// parseCPUList counts the CPUs of a list such as "0-3,8". Per-CPU arrays are
// indexed by CPU number, so the count is the highest number plus one.
func parseCPUList(text string) (int, error) {
	highest := -1
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		last := first
		if err == nil && isRange {
			last, err = strconv.Atoi(to)
		}
		if err != nil || first < 0 || last < first || last >= maxCPUs {
			return 0, fmt.Errorf("%q is no list of CPUs", text)
		}
		highest = max(highest, last)
	}
	return highest + 1, nil
}

// readPreemptRT: /sys/kernel/realtime comes with the out-of-tree RT patches and
// is missing on the first mainline kernels that can be PREEMPT_RT (6.12), whose
// version string says so.
func readPreemptRT() (bool, error) {
	on, err := readSwitch(realtimePath)
	if err == nil {
		return on, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	v, err := unameField(version)()
	if err != nil {
		return false, err
	}
	return isPreemptRTVersion(v), nil
}

// isPreemptRTVersion recognises "#1 SMP PREEMPT_RT Debian …" and the older
// spelling "#1 SMP PREEMPT RT …". PREEMPT_DYNAMIC is something else.
func isPreemptRTVersion(version string) bool {
	words := strings.Fields(version)
	for i, w := range words {
		if w == "PREEMPT_RT" || (w == "PREEMPT" && i+1 < len(words) && words[i+1] == "RT") {
			return true
		}
	}
	return false
}
