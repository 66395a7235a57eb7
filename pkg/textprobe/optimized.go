// SPDX-License-Identifier: Apache-2.0

package textprobe

import (
	"bufio"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

const kprobeList = "/sys/kernel/debug/kprobes/list"

// Optimized returns how many of the targets have a probe by now that the kernel has
// replaced by a jump, which spares each hit two traps. It does so some time after the
// attach. The second result is false when the kernel does not tell: debugfs is not
// mounted or may not be read.
func (s *Set) Optimized() (int, bool) {
	s.mu.Lock()
	targets := slices.Collect(maps.Keys(s.attached))
	s.mu.Unlock()
	f, err := os.Open(kprobeList)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	return countOptimized(f, targets)
}

func countOptimized(list io.Reader, targets []Target) (int, bool) {
	wanted := make(map[uint64]struct{}, len(targets))
	for _, t := range targets {
		wanted[t.Addr] = struct{}{}
	}
	n := 0
	sc := bufio.NewScanner(list)
	for sc.Scan() {
		// ffffffffa7cdf5f4  k  dev_ifconf+0x31    [OPTIMIZED]
		hex, rest, _ := strings.Cut(sc.Text(), " ")
		addr, err := strconv.ParseUint(hex, 16, 64)
		if err != nil {
			return 0, false
		}
		if addr == 0 { // hidden, as in /proc/kallsyms
			return 0, false
		}
		if _, ours := wanted[addr]; ours && strings.Contains(rest, "[OPTIMIZED]") {
			n++
			delete(wanted, addr) // an address with two probes has two lines
		}
	}
	return n, sc.Err() == nil
}
