// SPDX-License-Identifier: Apache-2.0

package userstack

import (
	"path"
	"strconv"
)

// Frame is one user-space address with what is known of it. All but Addr may be
// empty.
type Frame struct {
	// Addr is the address that was asked for.
	Addr uint64
	// Symbol is the enclosing function, and Offset the bytes into it.
	Symbol string
	Offset uint64
	// File is the mapped file as /proc/PID/maps names it, " (deleted)"
	// included, or a name such as [vdso]; FileOffset is the address's byte
	// offset in it.
	File       string
	FileOffset uint64
	// Source and Line are the Go source file and line, when the file has a
	// Go function table. Code inlined into Symbol shows its own source.
	Source string
	Line   int
}

// String returns symbol+0xoff with the source line where known, else
// [file+0xoff], else the bare address.
func (f Frame) String() string {
	switch {
	case f.Symbol != "" && f.Source != "":
		return f.Symbol + "+0x" + strconv.FormatUint(f.Offset, 16) + " " + f.Source + ":" + strconv.Itoa(f.Line)
	case f.Symbol != "":
		return f.Symbol + "+0x" + strconv.FormatUint(f.Offset, 16) + " [" + path.Base(f.File) + "]"
	case f.File != "":
		return "[" + path.Base(f.File) + "+0x" + strconv.FormatUint(f.FileOffset, 16) + "]"
	}
	return "0x" + strconv.FormatUint(f.Addr, 16)
}
