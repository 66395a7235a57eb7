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
