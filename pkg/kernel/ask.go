// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"io/fs"
)

// Single facts, for callers that cannot wait for all of Inspect.

// ReadCapabilities returns the effective capabilities of this process.
func ReadCapabilities() (Capabilities, error) { return readCapabilities() }

// ReadLockdown returns how far the kernel is locked down.
func ReadLockdown() (Lockdown, error) { return readLockdown() }

// InInitPIDNamespace reports whether pids mean to this process what they mean to
// the kernel's tracing. An error says that it cannot be told.
func InInitPIDNamespace() (bool, error) { return readInitPIDNamespace() }

// InInitProcessNamespaces reports whether this process is in the first PID namespace
// and in the first time namespace: only there do the pids and start times in /proc
// mean to it what they mean to others.
func InInitProcessNamespaces() (bool, error) {
	if ours, err := readInitPIDNamespace(); err != nil || !ours {
		return false, err
	}
	inode, err := readNamespace(timeNamespacePath)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil // a kernel without CONFIG_TIME_NS
	}
	return inode == initTimeNamespace, err
}

// HaveRingBuffer reports whether the kernel has BPF ring buffers (Linux 5.8). An
// error says that it cannot be told.
func HaveRingBuffer() (bool, error) { return haveRingBuffer() }

// ReadSymbolAccess returns whether this process sees addresses in /proc/kallsyms.
func ReadSymbolAccess() (SymbolAccess, error) { return readSymbolAccess() }
