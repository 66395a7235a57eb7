// SPDX-License-Identifier: Apache-2.0

// Package userstack gives names to addresses of user-space processes: from
// /proc/PID/maps to the mapped file, and from that file's Go function table or
// ELF symbols to a function, also when the process is in a container and when
// the file was deleted or stripped.
package userstack
