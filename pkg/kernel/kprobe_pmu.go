// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

const (
	kprobePMUPath      = "/sys/bus/event_source/devices/kprobe/type"
	kprobePMURetprobes = "/sys/bus/event_source/devices/kprobe/format/retprobe"
)

// KprobePMU is the type of perf events that are kprobes, which go with who opened them.
// It is an error if the kernel has none (CONFIG_KPROBE_EVENTS).
func KprobePMU() (uint32, error) {
	pmu, err := readInt(kprobePMUPath)
	if err != nil {
		return 0, fmt.Errorf("finding the kernel's kprobe event source: %w", err)
	}
	return uint32(pmu), nil
}

// RetprobeBit is the bit of such an event's config that makes it a probe on return, as
// the kernel's own format file says: "config:0".
func RetprobeBit() (uint, error) {
	text, err := os.ReadFile(kprobePMURetprobes)
	if err != nil {
		return 0, fmt.Errorf("asking how to probe a return: %w", err)
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(string(text)), "config:"), 10, 6)
	if err != nil {
		return 0, fmt.Errorf("reading how to probe a return from %q: %w", text, err)
	}
	return uint(n), nil
}
