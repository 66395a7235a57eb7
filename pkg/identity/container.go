// SPDX-License-Identifier: Apache-2.0

package identity

// The values of Container.Runtime.
const (
	// RuntimeDocker is Docker Engine.
	RuntimeDocker = "docker"
	// RuntimeContainerd is containerd used by Kubernetes or nerdctl.
	RuntimeContainerd = "containerd"
	// RuntimePodman is podman.
	RuntimePodman = "podman"
	// RuntimeCRIO is CRI-O.
	RuntimeCRIO = "crio"
	// RuntimeCRI is a Kubernetes runtime that left no trace of which it is.
	RuntimeCRI = "cri"
	// RuntimeLXC is LXC, LXD or Incus.
	RuntimeLXC = "lxc"
	// RuntimeNspawn is systemd-nspawn, or another that systemd-machined knows.
	RuntimeNspawn = "nspawn"
)

// Container says which container something belongs to. The zero Container
// means none, or none known.
//
// Membership is read from a process's cgroup. A user to whom a part of the
// cgroup tree was delegated chooses the names in it, so on a hostile host
// this is a claim, not a proof. Names hold printable characters only.
type Container struct {
	// ID is 64 hexadecimal digits, or for LXC and nspawn the name.
	ID string
	// Name is the runtime's name for it, without Docker's leading slash;
	// empty when the runtime's files do not tell.
	Name string
	// Pod is "namespace/name" of its Kubernetes pod, else empty.
	Pod string
	// Runtime is one of the Runtime constants; empty when the cgroup shows a
	// container and not whose.
	Runtime string
}

// label is the name people use for the container, or failing that its ID.
func (c Container) label() string {
	switch {
	case c.Pod != "":
		return c.Pod
	case c.Name != "":
		return c.Name
	}
	return shortID(c.ID)
}

// source says where label comes from, for Netns.NameFrom.
func (c Container) source() string {
	switch {
	case c.Pod != "":
		return FromCRI
	case c.Runtime != "":
		return c.Runtime
	}
	return FromCgroup
}

// containerFacts is a Container and what its runtime's files say of the
// network namespace it lives in.
type containerFacts struct {
	Container
	// sandboxKey is the last element of Docker's SandboxKey: the name in
	// /run/docker/netns of the namespace this container owns. Empty when it
	// joined another container's.
	sandboxKey string
	// sandbox is set for the container that holds a pod's namespaces open.
	sandbox bool
	// sandboxID is the ID of that container in this one's pod.
	sandboxID string
}

func (f containerFacts) known() bool { return f.ID != "" }
