// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"cmp"
	"context"
	"slices"
)

const (
	// maxSockets bounds how many sockets one walk remembers. Each takes about 100
	// bytes.
	maxSockets = 1 << 18
	// maxOwners is how many descriptors of one socket are told.
	maxOwners = 8
)

// Sockets says who had which socket open, at one time.
type Sockets struct {
	// Processes is how many processes were looked at.
	Processes int
	// Refused is how many of them had descriptors that could not be read. Those of
	// other users need CAP_SYS_PTRACE.
	Refused int
	// Dropped is how many descriptors of sockets were not remembered, because
	// there were too many sockets.
	Dropped int

	owners map[uint64][]Descriptor
}

// Owners are the descriptors of the socket that has this inode number, ordered by
// process, thread and number, at most eight. There are none when no task had it
// open: it is the kernel's own, was closed, or is on its way in a message of a unix
// socket.
func (s *Sockets) Owners(inode uint64) []Descriptor { return s.owners[inode] }

// Len is how many sockets are remembered.
func (s *Sockets) Len() int { return len(s.owners) }

// Sockets looks at the open files of every task that /proc shows: those of all
// threads, and, where /proc is the initial pid namespace's, of all pid namespaces.
// It takes a reading of each link, some microseconds a descriptor, and opens none.
// With want it remembers those sockets only that want accepts; nil means all. The
// error is that of ctx, or that there is no /proc.
func (n *Namer) Sockets(ctx context.Context, want func(inode uint64) bool) (*Sockets, error) {
	return readSockets(ctx, n.proc, newSharesFiles(n.proc), want)
}

func readSockets(ctx context.Context, proc string, shares sharesFiles, want func(inode uint64) bool) (*Sockets, error) {
	s := &Sockets{owners: make(map[uint64][]Descriptor)}
	w := descriptorWalk{proc: proc, shares: shares, use: func(d Descriptor, target []byte) {
		if inode, ok := socketInode(target); ok && (want == nil || want(inode)) {
			s.note(inode, d)
		}
	}}
	if err := w.walk(ctx); err != nil {
		return nil, err
	}
	s.Processes, s.Refused = w.processes, w.refused
	for _, owners := range s.owners {
		slices.SortFunc(owners, func(a, b Descriptor) int {
			return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.TID, b.TID), cmp.Compare(a.FD, b.FD))
		})
	}
	return s, nil
}

func (s *Sockets) note(inode uint64, d Descriptor) {
	owners, known := s.owners[inode]
	switch {
	case !known && len(s.owners) >= maxSockets:
		s.Dropped++
	case len(owners) < maxOwners:
		s.owners[inode] = append(owners, d)
	}
}

// socketInode reads the target of /proc/PID/fd/N, "socket:[4026]". Most are not a
// socket's, and are not made strings.
func socketInode(target []byte) (uint64, bool) {
	if len(target) == 0 || target[0] != 's' {
		return 0, false
	}
	return parseNumbered("socket", string(target))
}
