// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"math"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxPids is how many processes of a namespace are remembered and told.
	maxPids = 4
	// maxWalkNamespaces bounds the namespaces that one walk remembers.
	// Further ones are found through hints and bind mounts only.
	maxWalkNamespaces = 65536
	// maxPidLimit is the largest pid_max a 64-bit kernel accepts (4 Mi).
	maxPidLimit = 4 << 20
)

// procWalk is what one pass over /proc saw: a few processes of every network
// namespace. It is a list of candidates: what is taken from it is looked at
// again. The namer's resolving lock guards it.
//
// It sees processes, not their other threads: /proc lists leaders only, and
// looking at the tasks of each would cost ten times as much. A namespace kept
// by a stray thread alone is found when the caller hints at that thread.
type procWalk struct {
	proc   string
	walked time.Time
	pids   map[uint32][]int // by inode, at most maxPids each
}

// refresh walks again, unless that was done within the last retryAfter, and
// says whether it did.
func (w *procWalk) refresh(now time.Time) bool {
	if now.Sub(w.walked) < retryAfter {
		return false
	}
	w.walk()
	w.walked = now
	return true
}

func (w *procWalk) walk() {
	w.pids = make(map[uint32][]int)
	dir, err := os.Open(w.proc)
	if err != nil {
		return
	}
	defer dir.Close()
	fd := int(dir.Fd())
	var target [64]byte
	eachName(w.proc, maxPidLimit, func(name string) {
		pid, err := strconv.Atoi(name)
		if err != nil || pid <= 0 {
			return
		}
		// Reading the link takes no reference beyond the call. Opening it
		// would hold the namespace, which is what this tool looks for.
		n, err := unix.Readlinkat(fd, name+"/ns/net", target[:])
		if err != nil {
			return
		}
		inode, ok := parseNetLink(string(target[:n]))
		if !ok {
			return
		}
		pids, seen := w.pids[inode]
		if len(pids) < maxPids && (seen || len(w.pids) < maxWalkNamespaces) {
			w.pids[inode] = append(pids, pid)
		}
	})
}

// parseNetLink reads the target of /proc/PID/ns/net, "net:[4026531840]".
func parseNetLink(target string) (uint32, bool) {
	inode, ok := parseNumbered("net", target)
	return uint32(inode), ok && inode <= math.MaxUint32
}
