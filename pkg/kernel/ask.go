// SPDX-License-Identifier: Apache-2.0

package kernel

// Single facts, for callers that cannot wait for all of Inspect.

// ReadCapabilities returns the effective capabilities of this process.
func ReadCapabilities() (Capabilities, error) { return readCapabilities() }

// ReadLockdown returns how far the kernel is locked down.
func ReadLockdown() (Lockdown, error) { return readLockdown() }

// InInitPIDNamespace reports whether pids mean to this process what they mean to
// the kernel's tracing. An error says that it cannot be told.
func InInitPIDNamespace() (bool, error) { return readInitPIDNamespace() }

// HaveRingBuffer reports whether the kernel has BPF ring buffers (Linux 5.8). An
// error says that it cannot be told.
func HaveRingBuffer() (bool, error) { return haveRingBuffer() }

// ReadSymbolAccess returns whether this process sees addresses in /proc/kallsyms.
func ReadSymbolAccess() (SymbolAccess, error) { return readSymbolAccess() }
