// SPDX-License-Identifier: Apache-2.0

package seccomp

import "golang.org/x/sys/unix"

const architecture = unix.AUDIT_ARCH_AARCH64

var architectureCalls = []uint32{unix.SYS_FSTATAT, unix.SYS_PPOLL}
