// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Socket is an open socket of a process.
type Socket struct {
	FD    int
	Inode uint64
	// Protocol is what the kernel calls it in /proc/net/protocols: LLC, PACKET,
	// TCP; "" when it does not tell.
	Protocol string
}

// maxProcessSockets bounds how many sockets of one process are told.
const maxProcessSockets = 256

// ProcessSockets lists the sockets that a process has open, by descriptor, at most
// 256: none if it is gone. It opens none of them.
func (n *Namer) ProcessSockets(pid int) []Socket {
	var out []Socket
	w := descriptorWalk{proc: n.proc, shares: newSharesFiles(n.proc), use: func(d Descriptor, target []byte) {
		inode, ok := socketInode(target)
		if !ok || len(out) == maxProcessSockets {
			return
		}
		out = append(out, Socket{FD: d.FD, Inode: inode, Protocol: n.protocol(d)})
	}}
	w.process(context.Background(), pid)
	slices.SortFunc(out, func(a, b Socket) int { return cmp.Compare(a.FD, b.FD) })
	return out
}

// protocol asks sockfs, which tells the protocol's name as an attribute of the file.
func (n *Namer) protocol(d Descriptor) string {
	path := filepath.Join(n.proc, strconv.Itoa(d.PID), "task", strconv.Itoa(d.TID), "fd", strconv.Itoa(d.FD))
	var name [64]byte
	size, err := unix.Getxattr(path, "system.sockprotoname", name[:])
	if err != nil {
		return ""
	}
	return unix.ByteSliceToString(name[:size])
}
