// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

const statusPath = "/proc/self/status"

// Capabilities is the effective set of this process.
type Capabilities struct {
	// Held are all effective capabilities by name, in the kernel's order. One
	// that is newer than this program is CAP_ and its number.
	Held []string `json:"held"`
	// Lacking are those of wantedCapabilities not held.
	Lacking []string `json:"lacking"`
}

// wantedCapabilities are those that some part of the tracer asks for.
// CAP_SYS_ADMIN stands in for CAP_BPF and CAP_PERFMON.
func wantedCapabilities() []string {
	return []string{
		"CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN", "CAP_NET_ADMIN",
		"CAP_SYSLOG", "CAP_SYS_PTRACE", "CAP_SYS_RESOURCE", "CAP_SYS_RAWIO",
	}
}

// Has reports whether the capability of this name, such as CAP_BPF, is held.
func (c Capabilities) Has(name string) bool { return slices.Contains(c.Held, name) }

// String names what is held of the wanted ones, and what is lacking.
func (c Capabilities) String() string {
	var held []string
	for _, name := range wantedCapabilities() {
		if c.Has(name) {
			held = append(held, name)
		}
	}
	if len(held) == 0 {
		held = []string{"none of the wanted"}
	}
	text := strings.Join(held, " ")
	if len(c.Lacking) > 0 {
		text += "; lacking " + strings.Join(c.Lacking, " ")
	}
	return text
}

func readCapabilities() (Capabilities, error) {
	text, err := readTrimmed(statusPath)
	if err != nil {
		return Capabilities{}, err
	}
	mask, err := parseCapEff(text)
	if err != nil {
		return Capabilities{}, err
	}
	return capabilitiesOf(mask), nil
}

// parseCapEff finds the line CapEff in the text of /proc/PID/status.
func parseCapEff(status string) (uint64, error) {
	for line := range strings.Lines(status) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			if err != nil {
				return 0, fmt.Errorf("parsing CapEff: %w", err)
			}
			return mask, nil
		}
	}
	return 0, fmt.Errorf("no line CapEff in %s", statusPath)
}

func capabilitiesOf(mask uint64) Capabilities {
	names := capabilityNames()
	c := Capabilities{Held: []string{}, Lacking: []string{}}
	for rest := mask; rest != 0; rest &= rest - 1 {
		n := bits.TrailingZeros64(rest)
		if n < len(names) {
			c.Held = append(c.Held, "CAP_"+names[n])
		} else {
			c.Held = append(c.Held, "CAP_"+strconv.Itoa(n))
		}
	}
	for _, name := range wantedCapabilities() {
		if !c.Has(name) {
			c.Lacking = append(c.Lacking, name)
		}
	}
	return c
}

// capabilityNames are the names by number, 0 to 40 (CAP_CHECKPOINT_RESTORE,
// the last as of 5.9).
func capabilityNames() []string {
	return []string{
		"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL",
		"SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE",
		"NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
		"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
		"SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME",
		"SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL",
		"SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM",
		"BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
	}
}
