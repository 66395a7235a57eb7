// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

const lockdownPath = "/sys/kernel/security/lockdown"

// Lockdown is the level of the lockdown security module.
type Lockdown string

// The levels. Integrity permits reading kernel memory from BPF;
// confidentiality refuses it, and /proc/kcore and kprobes with it.
const (
	LockdownNone            Lockdown = "none"
	LockdownIntegrity       Lockdown = "integrity"
	LockdownConfidentiality Lockdown = "confidentiality"
)

func readLockdown() (Lockdown, error) {
	text, err := readTrimmed(lockdownPath)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("securityfs is not mounted, or the kernel has no lockdown module: %w", err)
	}
	if err != nil {
		return "", err
	}
	return parseLockdown(text)
}

// parseLockdown takes "none [integrity] confidentiality": the level in brackets
// is in force.
func parseLockdown(text string) (Lockdown, error) {
	for word := range strings.FieldsSeq(text) {
		level, ok := strings.CutPrefix(word, "[")
		if !ok {
			continue
		}
		switch l := Lockdown(strings.TrimSuffix(level, "]")); l {
		case LockdownNone, LockdownIntegrity, LockdownConfidentiality:
			return l, nil
		}
	}
	return "", fmt.Errorf("lockdown level not understood: %q", text)
}
