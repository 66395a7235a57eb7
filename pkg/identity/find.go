// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// shortestID is how much of a container's ID has to be given to mean it.
const shortestID = 6

// FindNetns returns the namespaces that people call name, by inode: as `ip netns`
// does, by the name of its container or pod, or by the first six or more digits of
// its container's ID. More than one answer means that the name is not enough.
func (n *Namer) FindNetns(name string) []Netns {
	n.resolving.Lock()
	now := time.Now()
	n.binds.refresh(now)
	n.walk.refresh(now)
	inodes := slices.AppendSeq(slices.Collect(maps.Keys(n.binds.byInode)), maps.Keys(n.walk.pids))
	n.resolving.Unlock()

	slices.SortFunc(inodes, cmp.Compare[uint32])
	var found []Netns
	for _, inode := range slices.Compact(inodes) {
		if ns, ok := n.Netns(inode); ok && ns.called(name) {
			found = append(found, ns)
		}
	}
	return found
}

func (ns Netns) called(name string) bool {
	if name == "" {
		return false
	}
	known := []string{ns.Name, ns.Container.Name, ns.Container.Pod}
	return slices.Contains(known, name) || len(name) >= shortestID && strings.HasPrefix(ns.Container.ID, name)
}
