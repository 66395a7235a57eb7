// SPDX-License-Identifier: Apache-2.0

package threads

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// errInProgress is what connect(2) of a non-blocking socket always answers; the
// true outcome comes later and is not a failure yet.
const errInProgress = int32(unix.EINPROGRESS)

func outcome(result int32) string {
	switch {
	case result >= 0:
		return " succeeded"
	case -result == errInProgress:
		return " was started"
	}
	errno := unix.Errno(-result)
	return fmt.Sprintf(" failed: %s (%s)", unix.ErrnoName(errno), errno)
}

func destination(r *record.StrandedCall) string {
	if to, ok := r.Destination(); ok {
		return to.String()
	}
	if len(r.Address) >= 2 {
		return "an address of family " + familyName(uint32(binary.NativeEndian.Uint16(r.Address)))
	}
	return "an unknown address"
}

func familyName(family uint32) string {
	switch family {
	case unix.AF_UNIX:
		return "AF_UNIX"
	case unix.AF_INET:
		return "AF_INET"
	case unix.AF_INET6:
		return "AF_INET6"
	case unix.AF_NETLINK:
		return "AF_NETLINK"
	case unix.AF_PACKET:
		return "AF_PACKET"
	}
	return fmt.Sprint(family)
}
