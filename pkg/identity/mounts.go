// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/kernel"
)

const (
	// maxMountNamespaces and maxNetnsMounts bound what one walk remembers.
	maxMountNamespaces = 1 << 16
	maxNetnsMounts     = 1 << 16
	// maxMountLine bounds a line of mountinfo: two paths of at most 4096 bytes, each
	// byte of which may be written as four, and options.
	maxMountLine = 64 << 10
)

// NetnsMount is a bind mount of a network namespace in one mount namespace.
type NetnsMount struct {
	Inode   uint32 // of the network namespace
	MountNS uint64 // inode of the mount namespace
	Initial bool   // that is pid 1's
	PID     int    // a process, or a thread of another number, in that mount namespace
	Path    string // as that process sees it
}

// NetnsMounts is where network namespaces are bind-mounted, as far as /proc shows it.
type NetnsMounts struct {
	Mounts []NetnsMount
	// Namespaces is how many mount namespaces were looked at: all that a thread is
	// in. One that only a file or a mount keeps is not seen.
	Namespaces int
	// Refused is how many threads' mounts could not be read.
	Refused int
	// Cut is set when there were more than are remembered.
	Cut bool
}

// NetnsMounts reads the mounts of every mount namespace that a thread is in, each
// once. The error is that of ctx.
func (n *Namer) NetnsMounts(ctx context.Context) (*NetnsMounts, error) {
	w := mountWalk{proc: n.proc, seen: make(map[uint64]bool)}
	if target, err := os.Readlink(filepath.Join(n.proc, "1/ns/mnt")); err == nil {
		w.initial, _ = parseNumbered("mnt", target)
		w.thread(1, filepath.Join(n.proc, "1/task/1"))
	}
	eachName(n.proc, maxPidLimit, func(name string) {
		pid, err := strconv.Atoi(name)
		if err != nil || pid <= 0 {
			return
		}
		tasks := filepath.Join(n.proc, name, "task")
		eachName(tasks, maxTasks, func(name string) {
			if ctx.Err() == nil {
				w.thread(pid, filepath.Join(tasks, name))
			}
		})
	})
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("looking at the mounts of network namespaces: %w", err)
	}
	w.found.Namespaces = len(w.seen)
	return &w.found, nil
}

type mountWalk struct {
	proc    string
	initial uint64
	seen    map[uint64]bool
	found   NetnsMounts
}

func (w *mountWalk) thread(pid int, dir string) {
	target, err := os.Readlink(filepath.Join(dir, "ns/mnt"))
	if err != nil {
		if !errors.Is(gone(err), ErrNoProcess) {
			w.found.Refused++
		}
		return
	}
	inode, ok := parseNumbered("mnt", target)
	if !ok || w.seen[inode] {
		return
	}
	if len(w.seen) >= maxMountNamespaces {
		w.found.Cut = true
		return
	}
	f, err := os.Open(filepath.Join(dir, "mountinfo"))
	if err != nil {
		return // another thread of the namespace may live longer
	}
	defer f.Close()
	mounts, err := readNetnsMounts(f, maxNetnsMounts-len(w.found.Mounts))
	if err != nil && !errors.Is(err, errTooManyMounts) {
		return
	}
	w.found.Cut = w.found.Cut || err != nil
	w.seen[inode] = true
	for _, m := range mounts {
		m.MountNS, m.Initial, m.PID = inode, inode == w.initial, pid
		w.found.Mounts = append(w.found.Mounts, m)
	}
}

var errTooManyMounts = errors.New("more mounts than are remembered")

// readNetnsMounts takes the mounts of network namespaces out of a mountinfo, as
// proc(5) describes it. A line that is not as described there is passed over.
func readNetnsMounts(from io.Reader, most int) ([]NetnsMount, error) {
	var mounts []NetnsMount
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxMountLine)
	for lines.Scan() {
		m, ok := parseNetnsMount(lines.Bytes())
		if !ok {
			continue
		}
		if len(mounts) >= most {
			return mounts, errTooManyMounts
		}
		mounts = append(mounts, m)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading mountinfo: %w", err)
	}
	return mounts, nil
}

// parseNetnsMount reads a line such as
//
//	36 25 0:4 net:[4026532254] /run/netns/red rw shared:7 - nsfs nsfs rw
func parseNetnsMount(line []byte) (NetnsMount, bool) {
	const root, path = 3, 4
	if !bytes.Contains(line, []byte(" - nsfs ")) {
		return NetnsMount{}, false
	}
	fields := strings.Fields(string(line))
	if len(fields) <= path {
		return NetnsMount{}, false
	}
	inode, ok := parseNetLink(fields[root])
	return NetnsMount{Inode: inode, Path: kernel.UnescapeMount(fields[path])}, ok
}
