// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// KeepCapabilities gives up all capabilities of this process but those named, such as
// CAP_BPF, as far as it has them. They cannot be had again. A program that it starts
// as root gets all of root's: the bounding set stays.
func KeepCapabilities(names ...string) error {
	var keep uint64
	for i, name := range capabilityNames() {
		if slices.Contains(names, "CAP_"+name) {
			keep |= 1 << i
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("reading this process's capabilities: %w", err)
	}
	for i := range data {
		part := uint32(keep >> (32 * i))
		data[i].Permitted &= part
		data[i].Effective &= part
		data[i].Inheritable = 0
	}
	// Capabilities are a thread's: all of this process must give them up.
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	if errno != 0 {
		return fmt.Errorf("giving up capabilities: %w", errno)
	}
	return nil
}
