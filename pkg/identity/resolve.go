// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"slices"
	"time"
)

// entry is what is remembered of a namespace: the answer, and the evidence by
// which the same namespace is recognised at the next look.
type entry struct {
	netns     Netns
	binds     []binding
	residents []resident
	checked   time.Time
}

// resident is a thread seen in a namespace.
type resident struct {
	pid   int
	start uint64 // ticks after boot: with pid, identifies it
	// leader is unset for a thread whose process lives in another namespace.
	// Its container is then not the namespace's: a container's agent that
	// goes from namespace to namespace belongs to none of them.
	leader    bool
	container containerFacts
}

// resolve answers from files. The resolving lock is held.
//
// It looks first where the namespace was last time and at the hints, which
// costs a few reads. Only what that leaves open pays for a scan.
func (n *Namer) resolve(inode uint32, hints []int) (Netns, bool) {
	now := time.Now()
	earlier := n.earlier(inode)
	residents := n.residents(inode, hints, earlier, now)
	binds := n.binds.of(inode, earlier)

	same := earlier.sameAs(binds, residents)
	named := same && earlier.netns.Name != ""
	if (!named && len(binds) == 0) || now.Sub(n.binds.scanned) >= staleAfter {
		if n.binds.refresh(now) {
			binds = n.binds.of(inode, earlier)
		}
	}
	lives := slices.ContainsFunc(residents, func(r resident) bool { return r.leader })
	if !lives && now.Sub(n.walk.walked) >= earlier.patience(same) {
		if n.walk.refresh(now) {
			residents = n.residents(inode, hints, earlier, now)
		}
	}

	if len(binds) == 0 && len(residents) == 0 {
		return n.lost(inode, earlier)
	}
	found := entry{netns: n.name(inode, binds, residents, now), binds: binds, residents: residents}
	if earlier.sameAs(binds, residents) {
		found.netns = found.netns.completedBy(earlier.netns)
	}
	n.remember(found)
	return found.netns, true
}

// patience is how old a walk may be for a namespace that no process was found
// in. Namespaces without processes are ordinary (`ip netns`), and those with a
// stray thread alone are what people ask about: neither is worth a walk each
// second.
func (e *entry) patience(same bool) time.Duration {
	switch {
	case !same:
		return 0 // as soon as the walk's own limit allows
	case e.netns.NameFrom == FromIPNetns || e.netns.Container.Name != "" || e.netns.Container.Pod != "":
		return staleAfter
	}
	return searchAfter
}

// lost answers when nothing of the namespace is to be found.
func (n *Namer) lost(inode uint32, earlier *entry) (Netns, bool) {
	if earlier == nil {
		n.rememberMiss(inode)
		return Netns{Inode: inode}, false
	}
	earlier.netns.Gone, earlier.netns.Pids = true, nil
	n.remember(*earlier)
	return earlier.netns, true
}

// residents looks at the candidates and keeps up to maxPids that live in the
// namespace now.
func (n *Namer) residents(inode uint32, hints []int, earlier *entry, now time.Time) []resident {
	var found []resident
	add := func(pid int) {
		known := func(r resident) bool { return r.pid == pid }
		if len(found) == maxPids || slices.ContainsFunc(found, known) {
			return
		}
		r, tgid, ok := n.resident(pid, inode, now)
		if !ok {
			return
		}
		if !r.leader {
			if leader, _, ok := n.resident(tgid, inode, now); ok && leader.leader {
				r = leader
			}
		}
		pid = r.pid
		if !slices.ContainsFunc(found, known) {
			found = append(found, r)
		}
	}
	// A caller's list may be long, and those that are wrong cost as much.
	for _, pid := range hints[:min(len(hints), 4*maxPids)] {
		add(pid)
	}
	if earlier != nil {
		for _, r := range earlier.residents {
			add(r.pid)
		}
	}
	for _, pid := range n.walk.pids[inode] {
		add(pid)
	}
	return found
}

// resident looks whether thread pid lives in the namespace, and which process
// it is of.
func (n *Namer) resident(pid int, inode uint32, now time.Time) (r resident, tgid int, ok bool) {
	dir, err := openProcess(n.proc, pid)
	if err != nil {
		return resident{}, 0, false
	}
	defer dir.close()
	if netns, ok := dir.netns(); !ok || netns != inode {
		return resident{}, 0, false
	}
	if tgid, err = dir.tgid(); err != nil {
		return resident{}, 0, false
	}
	stat, err := dir.stat()
	if err != nil {
		return resident{}, 0, false
	}
	r = resident{pid: pid, start: stat.start, leader: tgid == pid}
	if container, ok := dir.container(); ok && r.leader {
		r.container = n.containers.describe(container, now)
	}
	return r, tgid, true
}

// sameAs says whether what is seen now is the namespace the entry is about,
// and not a later one of the same number: a bind mount that was there all the
// time, or a thread that was.
func (e *entry) sameAs(binds []binding, residents []resident) bool {
	if e == nil {
		return false
	}
	for _, b := range binds {
		if slices.Contains(e.binds, b) {
			return true
		}
	}
	for _, r := range residents {
		if slices.ContainsFunc(e.residents, func(known resident) bool {
			return known.pid == r.pid && known.start == r.start
		}) {
			return true
		}
	}
	return false
}

// completedBy fills in what is no longer to be seen of the same namespace, as
// its container after the last process ended.
func (ns Netns) completedBy(earlier Netns) Netns {
	if ns.Container == (Container{}) {
		ns.Container = earlier.Container
		// A name that a runtime made up gives way to the container's.
		if ns.NameFrom != FromIPNetns && earlier.Container != (Container{}) {
			ns.Name, ns.NameFrom = earlier.Name, earlier.NameFrom
		}
	}
	if ns.Name == "" {
		ns.Name, ns.NameFrom = earlier.Name, earlier.NameFrom
	}
	return ns
}

// name weighs the evidence: a name that someone gave by hand, then the
// container's, then one that a runtime made up.
func (n *Namer) name(inode uint32, binds []binding, residents []resident, now time.Time) Netns {
	ns := Netns{Inode: inode}
	for _, r := range residents {
		ns.Pids = append(ns.Pids, r.pid)
	}
	if slices.ContainsFunc(binds, isDockerHost) {
		ns.Name, ns.NameFrom = FromHost, RuntimeDocker
		return ns
	}
	if owner, ok := n.owner(binds, residents, now); ok {
		ns.Container = owner
		ns.Name, ns.NameFrom = owner.label(), owner.source()
	}
	if len(binds) > 0 && (binds[0].kind == bindUser || ns.Name == "") {
		ns.Name, ns.NameFrom = binds[0].name(), binds[0].kind.source()
	}
	return ns
}

// isDockerHost recognises the bind mount by which dockerd refers to the
// namespace that it runs in itself.
func isDockerHost(b binding) bool { return b.kind == bindDocker && b.name() == "default" }

// owner finds the container that the namespace belongs to, among those whose
// processes live in it.
func (n *Namer) owner(binds []binding, residents []resident, now time.Time) (Container, bool) {
	for _, b := range binds {
		if b.kind != bindDocker || !isSandboxKey(b.name()) {
			continue
		}
		for _, r := range residents {
			if r.container.sandboxKey == b.name() {
				return r.container.Container, true
			}
		}
		if facts, ok := n.sandboxes.find(b.name(), now); ok {
			return facts.Container, true
		}
	}
	var member containerFacts
	for _, r := range residents {
		if r.container.sandbox {
			return r.container.Container, true
		}
		// The first wins, but in a pod any member that tells the pod does.
		if !member.known() || (member.Pod == "" && r.container.Pod != "") {
			member = r.container
		}
	}
	if member.Pod != "" && member.sandboxID != "" {
		return Container{ID: member.sandboxID, Pod: member.Pod, Runtime: member.Runtime}, true
	}
	return member.Container, member.known()
}
