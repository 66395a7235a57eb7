// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"path/filepath"
	"sync"
	"time"
)

// maxContainers bounds the containers whose names are remembered.
const maxContainers = 16384

// containerNames looks containers up in the files that their runtimes keep.
// It is safe for concurrent use.
type containerNames struct {
	docker string   // /var/lib/docker/containers
	tasks  []string // containerd's TASKS/NAMESPACE/ID/config.json
	stores []string // CRI-O's and podman's STORE/ID/userdata/config.json

	mu     sync.Mutex
	known  *lru[string, knownContainer] // by ID
	stored storedNames
}

type knownContainer struct {
	facts containerFacts
	named bool // a runtime's file told
	read  time.Time
}

func newContainerNames(root string) *containerNames {
	in := func(path string) string { return filepath.Join(root, path) }
	stores := []string{
		in("run/containers/storage/overlay-containers"),
		in("var/lib/containers/storage/overlay-containers"),
	}
	return &containerNames{
		docker: in("var/lib/docker/containers"),
		tasks: []string{
			in("run/containerd/io.containerd.runtime.v2.task"),
			in("run/k3s/containerd/io.containerd.runtime.v2.task"),
		},
		stores: stores,
		known:  newLRU[string, knownContainer](maxContainers),
		stored: newStoredNames(stores),
	}
}

// describe completes c, as parseCgroup found it, from its runtime's files.
// What was once learnt outlives the files, so that the container may be gone.
func (n *containerNames) describe(c Container, now time.Time) containerFacts {
	if !isContainerID(c.ID) {
		return containerFacts{Container: c}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	last := n.known.get(c.ID)
	if last != nil {
		// A container can be renamed, a missing file may still be written.
		keep := retryAfter
		if last.named {
			keep = staleAfter
		}
		if now.Sub(last.read) < keep {
			return last.facts
		}
	}
	facts, named := n.read(c, now)
	if !named && last != nil && last.named {
		facts, named = last.facts, true
	}
	n.known.put(c.ID, knownContainer{facts: facts, named: named, read: now})
	return facts
}

func (n *containerNames) read(c Container, now time.Time) (containerFacts, bool) {
	// The cgroup names the manager, or leaves it open ("", RuntimeCRI).
	var readers []func(string, time.Time) (containerFacts, bool)
	switch c.Runtime {
	case RuntimeDocker:
		readers = append(readers, n.readDocker)
	case RuntimeContainerd:
		readers = append(readers, n.readContainerd)
	case RuntimePodman, RuntimeCRIO:
		readers = append(readers, n.readStore)
	default:
		readers = append(readers, n.readDocker, n.readContainerd, n.readStore)
	}
	for _, read := range readers {
		facts, ok := read(c.ID, now)
		if !ok {
			continue
		}
		if c.Runtime != "" && c.Runtime != RuntimeCRI {
			facts.Runtime = c.Runtime
		}
		return facts, true
	}
	return containerFacts{Container: c}, false
}

func (n *containerNames) readDocker(id string, _ time.Time) (containerFacts, bool) {
	data, err := readFile(filepath.Join(n.docker, id, "config.v2.json"))
	if err != nil {
		return containerFacts{}, false
	}
	return parseDockerConfig(data, id)
}

func (n *containerNames) readContainerd(id string, _ time.Time) (containerFacts, bool) {
	for _, tasks := range n.tasks {
		var namespaces []string
		eachName(tasks, 64, func(name string) { namespaces = append(namespaces, name) })
		for _, namespace := range namespaces {
			data, err := readFile(filepath.Join(tasks, namespace, id, "config.json"))
			if err != nil {
				continue
			}
			if facts, ok := parseOCIConfig(data, id); ok {
				facts.Runtime = RuntimeContainerd
				return facts, true
			}
		}
	}
	return containerFacts{}, false
}

// readStore serves podman and CRI-O, which share a storage library: the
// bundle tells the pod, the storage's list the name.
func (n *containerNames) readStore(id string, now time.Time) (containerFacts, bool) {
	facts, found := n.readBundle(id)
	name := n.stored.find(id, now)
	if !found && name == "" {
		return containerFacts{}, false
	}
	facts.ID, facts.Runtime = id, RuntimePodman
	if facts.Pod != "" {
		// podman's own pods carry no Kubernetes name.
		facts.Runtime = RuntimeCRIO
	} else if name != "" {
		facts.Name = name
	}
	return facts, true
}

func (n *containerNames) readBundle(id string) (containerFacts, bool) {
	for _, store := range n.stores {
		data, err := readFile(filepath.Join(store, id, "userdata", "config.json"))
		if err != nil {
			continue
		}
		if facts, ok := parseOCIConfig(data, id); ok {
			return facts, true
		}
	}
	return containerFacts{}, false
}
