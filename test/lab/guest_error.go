// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
)

// GuestError says that a virtual machine died or hangs. A test that did not ask for
// that has found a bug in the kernel, or in what it did to the kernel.
type GuestError struct {
	// Kernel names the kernel that was running.
	Kernel string
	// Reason is one line, such as the kernel's own words when it panicked.
	Reason string
	// Tail is the end of the console's text.
	Tail string
}

// Error has the reason and the end of the console's text.
func (e *GuestError) Error() string {
	return fmt.Sprintf("guest with kernel %s: %s\n--- end of its console ---\n%s\n--- ---", e.Kernel, e.Reason, e.Tail)
}

// ErrClosed says that the virtual machine was closed before.
var ErrClosed = errors.New("the virtual machine is closed")
