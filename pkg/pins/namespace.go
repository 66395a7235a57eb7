// SPDX-License-Identifier: Apache-2.0

package pins

import (
	"cmp"
	"maps"
	"path"
	"slices"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// What is remembered of one namespace. Beyond it things are counted only.
const (
	maxProcesses  = 4096
	maxReferences = 1 << 16 // distinct nsproxies, and sockets
	maxPins       = 256
	maxMounts     = 256
)

// namespace is a network namespace and all that was seen of it.
type namespace struct {
	id    record.NetnsID
	alive *record.NetnsAlive // nil: it is not in the kernel's list

	processes     map[uint32]*process // by pid
	moreProcesses bool
	nsproxies     map[uint64]bool
	sockets       map[uint64]bool // by address: those that are a reference
	waiting       uint64          // connections in the queues of listening sockets
	nsfs          bool            // a file of it was seen, open or mounted
	cut           bool            // there was more than is remembered

	descriptors []record.NetnsFile // of processes that live elsewhere
	mounts      []record.NetnsMount
}

// process is one that has threads in the namespace.
type process struct {
	first   record.Thread // its first thread if that is here, else one that is
	leader  uint32        // inode of the namespace of its first thread; 0: that has exited
	threads int           // here
	all     int           // of the process
}

// lives reports whether the process belongs to the namespace: its first thread is
// there, and is not the only one of many.
func (p *process) lives(inode uint32) bool {
	switch p.leader {
	case inode:
		return p.threads > 1 || p.all < 3
	case 0:
		// The first thread has exited, and still counts. The others tell.
		return p.threads+1 >= p.all
	}
	return false
}

func (n *namespace) saw(r *record.NetnsTask) {
	n.nsproxies = n.note(n.nsproxies, r.Nsproxy)
	p := n.processes[r.Thread.TGID]
	if p == nil {
		if len(n.processes) >= maxProcesses {
			n.moreProcesses = true
			return
		}
		if n.processes == nil {
			n.processes = make(map[uint32]*process)
		}
		p = &process{first: r.Thread}
		n.processes[r.Thread.TGID] = p
	}
	if r.Thread.TID == r.Thread.TGID {
		p.first = r.Thread
	}
	p.leader, p.all = r.Leader, int(r.Threads)
	p.threads++
}

func (n *namespace) note(set map[uint64]bool, address uint64) map[uint64]bool {
	if set == nil {
		set = make(map[uint64]bool)
	}
	if len(set) >= maxReferences && !set[address] {
		n.cut = true
		return set
	}
	set[address] = true
	return set
}

func (n *namespace) opened(r *record.NetnsFile) {
	n.nsfs = n.nsfs || r.Kind == record.NetnsFileNsfs
	if r.Counted && !n.sockets[r.Object] {
		n.sockets = n.note(n.sockets, r.Object)
		n.waiting += uint64(r.Waiting)
	}
	if p := n.processes[r.Thread.TGID]; p != nil && p.lives(n.id.Inode) {
		return // what its own processes have open goes with them
	}
	if len(n.descriptors) >= maxPins {
		n.cut = true
		return
	}
	n.descriptors = append(n.descriptors, *r)
}

func (n *namespace) mounted(r *record.NetnsMount) {
	n.nsfs = true
	if len(n.mounts) >= maxMounts {
		n.cut = true
		return
	}
	n.mounts = append(n.mounts, *r)
}

// verdict is what a namespace is found to be.
type verdict int

const (
	pinned verdict = iota // nobody lives there and nobody can name it, but it is alive
	named                 // no process lives there; it has a name, as `ip netns add` gives
	inUse                 // processes live there
)

func (n *namespace) verdict() verdict {
	switch {
	case n.inhabited():
		return inUse
	case slices.ContainsFunc(n.mounts, isName):
		return named
	}
	return pinned
}

// isName tells the mounts by which namespaces are named, `ip netns`'s and container
// runtimes', from others: they are in a folder netns, where pid 1 sees them.
func isName(m record.NetnsMount) bool {
	return m.Initial && path.Base(path.Dir(m.Path)) == "netns"
}

// inhabited reports whether a process lives there. It is asked for each descriptor, so
// it sorts nothing.
func (n *namespace) inhabited() bool {
	for _, p := range n.processes {
		if p.lives(n.id.Inode) {
			return true
		}
	}
	return false
}

// residents are the processes that live there, by pid.
func (n *namespace) residents() []*process {
	return n.sorted(func(p *process) bool { return p.lives(n.id.Inode) })
}

// strays are the processes that live elsewhere and have threads there.
func (n *namespace) strays() []*process {
	return n.sorted(func(p *process) bool { return !p.lives(n.id.Inode) })
}

func (n *namespace) sorted(want func(p *process) bool) []*process {
	return slices.SortedFunc(func(yield func(*process) bool) {
		for p := range maps.Values(n.processes) {
			if want(p) && !yield(p) {
				return
			}
		}
	}, func(a, b *process) int { return cmp.Compare(a.first.TGID, b.first.TGID) })
}

// account holds the references of a namespace against what was seen to hold them. It
// is not ok when they are not known.
func (n *namespace) account() (references, explained int64, ok bool) {
	if n.alive == nil {
		return 0, 0, false
	}
	explained = int64(len(n.nsproxies)) + int64(len(n.sockets)) + int64(n.waiting)
	if n.alive.InNsfs && n.nsfs {
		explained++
	}
	return int64(n.alive.References), explained, true
}

// pins are what keeps it alive beside the processes that live there, the surest and
// easiest to release first.
func (n *namespace) pins() []pin {
	var out []pin
	for _, p := range n.strays() {
		out = append(out, pin{by: byThread, process: p})
	}
	for i := range n.descriptors {
		out = append(out, pin{by: wayOf(&n.descriptors[i]), file: &n.descriptors[i]})
	}
	for i := range n.mounts {
		if !isName(n.mounts[i]) {
			out = append(out, pin{by: byMount, mount: &n.mounts[i]})
		}
	}
	slices.SortStableFunc(out, func(a, b pin) int { return cmp.Compare(a.by, b.by) })
	return out
}

// copies splits the pins: mounts that a mount namespace got with all others when it
// was made, at the place where the name is, and what is left.
func (n *namespace) copies() (copies []*record.NetnsMount, others []pin) {
	names := make(map[string]bool)
	for _, m := range n.mounts {
		if isName(m) {
			names[m.Path] = true
		}
	}
	for _, p := range n.pins() {
		if p.by == byMount && names[p.mount.Path] {
			copies = append(copies, p.mount)
		} else {
			others = append(others, p)
		}
	}
	return copies, others
}

// pin is one thing that keeps a namespace alive. One of the three is set.
type pin struct {
	by      way
	process *process
	file    *record.NetnsFile
	mount   *record.NetnsMount
}

// way is how a pin keeps a namespace.
type way int

const (
	byThread way = iota
	byDescriptor
	bySocket
	byTun
	byMessage
	byMount
)

func (w way) String() string {
	return [...]string{"thread", "descriptor", "socket", "tun", "message", "mount"}[w]
}

func wayOf(f *record.NetnsFile) way {
	switch {
	case f.Carrier != 0:
		return byMessage
	case f.Kind == record.NetnsFileSocket:
		return bySocket
	case f.Kind == record.NetnsFileTun:
		return byTun
	}
	return byDescriptor
}
