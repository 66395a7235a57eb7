// SPDX-License-Identifier: Apache-2.0

// Package identity puts names to what the kernel knows by number: network
// namespaces, the containers they belong to, and processes.
//
// Everything is read from files, on demand: /proc, the bind mounts of
// `ip netns` and of container runtimes, and the runtimes' own records. No
// namespace is entered or opened, no daemon is asked.
package identity

import (
	"path/filepath"
	"sync"
	"time"
)

const (
	// retryAfter is how long an answer stands before the next question has it
	// checked, and the least time between two walks of /proc or two scans of
	// a directory.
	retryAfter = time.Second
	// searchAfter is the time between walks for a namespace that is there,
	// without processes, and has no better name than a runtime made up: its
	// container may be about to start.
	searchAfter = 5 * time.Second
	// staleAfter is how long a name in use stands before a better one is
	// looked for (an alias made later, a container renamed).
	staleAfter = 30 * time.Second

	// maxNames bounds the namespaces whose names are remembered.
	maxNames = 16384
	// maxMisses bounds the namespaces remembered as not known. They are kept
	// apart, so that asking for many of those costs no name.
	maxMisses = 16384
)

// The values of Netns.NameFrom, besides the Runtime constants.
const (
	// FromHost marks the namespace of PID 1.
	FromHost = "host"
	// FromIPNetns marks a name given with `ip netns`.
	FromIPNetns = "ip netns"
	// FromCRI marks a pod's name, or the name a Kubernetes runtime made up.
	FromCRI = "cri"
	// FromCgroup marks the ID of a container of a runtime not recognised.
	FromCgroup = "cgroup"
)

// Netns is what is known of a network namespace.
type Netns struct {
	// Inode is its number: /proc/PID/ns/net reads net:[Inode].
	Inode uint32
	// Name is what people call it; printable characters only. Empty when only
	// processes are known.
	Name string
	// NameFrom says where Name comes from: one of the From or Runtime
	// constants, empty with Name.
	NameFrom string
	// Container is the container it belongs to: in a Kubernetes pod the
	// sandbox that holds the namespace, when the runtime tells which that is.
	// Always zero for the host's.
	Container Container
	// Pids are up to four processes living there, or hinted-at threads whose
	// process lives elsewhere. The slice is shared: do not change it.
	Pids []int
	// Gone is set when nothing of the namespace was found at the last look
	// and the rest is what was known before.
	Gone bool
}

// Namer answers questions about one host. It is safe for concurrent use and
// needs no closing. Answers are remembered in bounded memory; nothing is read
// before the first question.
type Namer struct {
	proc       string
	containers *containerNames
	boot       *bootClock

	// readingHost has the first askers wait for the one that reads. Taken before mu.
	readingHost sync.Mutex
	hostRead    time.Time // guarded by it

	mu     sync.Mutex // guards what is below; never held while reading files
	host   Netns      // Inode is 0 until known
	names  *lru[uint32, entry]
	misses *lru[uint32, time.Time]

	// resolving serialises what reads files to answer Netns, so that any
	// number of askers share one walk. Taken before mu.
	resolving sync.Mutex
	binds     bindings
	walk      procWalk
	sandboxes dockerSandboxes
}

// New returns a Namer for the host whose proc, run and var are below root; ""
// means /.
func New(root string) *Namer {
	if root == "" {
		root = "/"
	}
	proc := filepath.Join(root, "proc")
	containers := newContainerNames(root)
	return &Namer{
		proc:       proc,
		containers: containers,
		boot:       newBootClock(proc),
		names:      newLRU[uint32, entry](maxNames),
		misses:     newLRU[uint32, time.Time](maxMisses),
		binds:      bindings{root: root, stat: newNsfsStat()},
		walk:       procWalk{proc: proc},
		sandboxes:  dockerSandboxes{dir: containers.docker},
	}
}

// Netns describes the network namespace inode; false when nothing of it is
// known. hintPIDs, processes or threads thought to live there, save a walk of
// /proc, and find namespaces that such a walk cannot see.
//
// An answer may be a second old, also a negative one. A name once learnt stays
// after the namespace is gone, until its number is seen to be another's.
func (n *Namer) Netns(inode uint32, hintPIDs ...int) (Netns, bool) {
	if inode == 0 {
		return Netns{}, false
	}
	if inode == n.Host() {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.host, true
	}
	if ns, known, fresh := n.remembered(inode); fresh {
		return ns, known
	}
	n.resolving.Lock()
	defer n.resolving.Unlock()
	// Whoever held the lock may have answered this very question.
	if ns, known, fresh := n.remembered(inode); fresh {
		return ns, known
	}
	return n.resolve(inode, hintPIDs)
}

// Born says that inode is now the number of a namespace that was just made: what was
// known of an earlier one of that number is forgotten.
func (n *Namer) Born(inode uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names.remove(inode)
	n.misses.remove(inode)
}

// Learn looks for a name of a young namespace, where that is cheap: at the bind
// mounts, once a second at most, and at hintPID. What it finds is remembered for when
// the namespace is gone.
func (n *Namer) Learn(inode uint32, hintPID int) (Netns, bool) {
	if ns, known, fresh := n.remembered(inode); fresh && known {
		return ns, known
	}
	n.resolving.Lock()
	defer n.resolving.Unlock()
	now := time.Now()
	n.binds.refresh(now)
	binds, residents := n.binds.of(inode, nil), n.residents(inode, []int{hintPID}, nil, now)
	if len(binds) == 0 && len(residents) == 0 {
		return Netns{Inode: inode}, false
	}
	found := entry{netns: n.name(inode, binds, residents, now), binds: binds, residents: residents}
	n.remember(found)
	return found.netns, true
}

// Host returns the inode of PID 1's network namespace: 0 if it may not be
// read. Where /proc is a container's, that is the container's.
func (n *Namer) Host() uint32 {
	if inode := n.knownHost(); inode != 0 {
		return inode
	}
	n.readingHost.Lock()
	defer n.readingHost.Unlock()
	// Whoever held the lock has answered this very question.
	if inode := n.knownHost(); inode != 0 || time.Since(n.hostRead) < retryAfter {
		return inode
	}
	n.hostRead = time.Now()
	dir, err := openProcess(n.proc, 1)
	if err != nil {
		return 0
	}
	defer dir.close()
	inode, ok := dir.netns()
	if !ok {
		return 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.host = Netns{Inode: inode, Name: FromHost, NameFrom: FromHost, Pids: []int{1}}
	return inode
}

func (n *Namer) knownHost() uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.host.Inode
}

// remembered returns the last answer; fresh if it needs no check yet.
func (n *Namer) remembered(inode uint32) (ns Netns, known, fresh bool) {
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.names.get(inode); e != nil {
		return e.netns, true, now.Sub(e.checked) < retryAfter
	}
	if missed := n.misses.get(inode); missed != nil {
		return Netns{Inode: inode}, false, now.Sub(*missed) < retryAfter
	}
	return Netns{Inode: inode}, false, false
}

// earlier returns a copy of what was known of inode, nil if nothing.
func (n *Namer) earlier(inode uint32) *entry {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := n.names.get(inode)
	if e == nil {
		return nil
	}
	known := *e
	return &known
}

func (n *Namer) remember(e entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e.checked = time.Now()
	n.names.put(e.netns.Inode, e)
	n.misses.remove(e.netns.Inode)
}

func (n *Namer) rememberMiss(inode uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.misses.put(inode, time.Now())
}
