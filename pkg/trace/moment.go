// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"encoding/binary"
	"hash/maphash"
	"time"

	"github.com/netns-trace/netns-trace/pkg/record"
)

const (
	// namedFor is how long the names of a stack's frames are taken to be as they were: a
	// daemon comes by the same few stacks again and again, and naming one costs reading
	// its memory map and opening its files.
	namedFor = time.Second
	namedMax = 4096
	// askedOften is how often a process is asked for its container at once: one that
	// has just begun may come into its container between two of its moves.
	askedOften = 16
)

// namedStacks remembers which stacks were named a moment ago.
type namedStacks struct {
	seed maphash.Seed
	at   map[uint64]record.Time
}

func newNamedStacks() namedStacks {
	return namedStacks{seed: maphash.MakeSeed(), at: make(map[uint64]record.Time)}
}

// again reports whether the names of a stack were told less than a moment before now,
// and otherwise takes it that they are told now.
func (n *namedStacks) again(tgid uint32, s *record.Stacks, now record.Time) bool {
	var h maphash.Hash
	h.SetSeed(n.seed)
	var b [8]byte
	for _, part := range [][]uint64{{uint64(tgid), uint64(len(s.Kernel))}, s.Kernel, s.User} {
		for _, v := range part {
			binary.NativeEndian.PutUint64(b[:], v)
			h.Write(b[:])
		}
	}
	key := h.Sum64()
	if at, ok := n.at[key]; ok && now-at < record.Time(namedFor) {
		return true
	}
	if len(n.at) >= namedMax {
		clear(n.at)
	}
	n.at[key] = now
	return false
}

// forget is for a process that became another program, and for modules that come.
func (n *namedStacks) forget() { clear(n.at) }

// askedProcesses are those that were asked for their containers, by pid.
type askedProcesses map[uint32]asked

type asked struct {
	times int
	last  record.Time
}

// enough reports whether a process was asked often, and a moment ago; otherwise it is
// taken to be asked now.
func (a askedProcesses) enough(tgid uint32, now record.Time) bool {
	before := a[tgid]
	if before.times >= askedOften && now-before.last < record.Time(namedFor) {
		return true
	}
	if len(a) >= namedMax {
		clear(a)
	}
	a[tgid] = asked{before.times + 1, now}
	return false
}
