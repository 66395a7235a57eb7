// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	netnsA  = 4026532290
	netnsB  = 4026532411
	sandbox = "5f21b4aa09cd"
	cniFile = "cni-1b4e28ba-2fa1-11d2-883f-0016d3cca427"
)

func TestNetns(t *testing.T) {
	redis := Container{ID: redisID, Name: "cache", Runtime: RuntimeDocker}
	cart := Container{ID: pauseID, Pod: "shop/cart-7d9f", Runtime: RuntimeContainerd}
	tests := []struct {
		name  string
		setup func(h *host)
		inode uint32
		hints []int
		want  Netns
		miss  bool
	}{
		{
			name:  "the host's",
			setup: func(*host) {},
			inode: hostNetns,
			want:  Netns{Name: "host", NameFrom: FromHost, Pids: []int{1}},
		},
		{
			name:  "ip netns add redis0, nothing runs there",
			setup: func(h *host) { h.mount("run/netns/redis0", netnsA, 5) },
			want:  Netns{Name: "redis0", NameFrom: FromIPNetns},
		},
		{
			name:  "a host whose /var/run is a directory of its own",
			setup: func(h *host) { h.mount("var/run/netns/redis0", netnsA, 5) },
			want:  Netns{Name: "redis0", NameFrom: FromIPNetns},
		},
		{
			name: "a file left behind in /run/netns names nothing",
			setup: func(h *host) {
				h.write("run/netns/redis0", "")
				h.write("run/docker/netns/"+sandbox, "")
			},
			miss: true,
		},
		{
			name: "docker run",
			setup: func(h *host) {
				h.dockerContainer(redisID, "cache", sandbox)
				h.process(process{pid: 4242, comm: "redis-server", netns: netnsA, cgroup: dockerScope(redisID)})
				h.mount("run/docker/netns/"+sandbox, netnsA, 5)
			},
			want: Netns{Name: "cache", NameFrom: RuntimeDocker, Container: redis, Pids: []int{4242}},
		},
		{
			name: "docker, dockerd's mounts not visible from here",
			setup: func(h *host) {
				h.dockerContainer(redisID, "cache", sandbox)
				h.process(process{pid: 4242, comm: "redis-server", netns: netnsA, cgroup: dockerScope(redisID)})
			},
			want: Netns{Name: "cache", NameFrom: RuntimeDocker, Container: redis, Pids: []int{4242}},
		},
		{
			name: "docker still holds the namespace of a container whose processes ended",
			setup: func(h *host) {
				h.dockerContainer(nginxID, "web", "aaaabbbbcccc")
				h.dockerContainer(redisID, "cache", sandbox)
				h.mount("run/docker/netns/"+sandbox, netnsA, 5)
			},
			want: Netns{Name: "cache", NameFrom: RuntimeDocker, Container: redis},
		},
		{
			name: "docker holds a namespace that no container's record mentions",
			setup: func(h *host) {
				h.dockerContainer(nginxID, "web", "aaaabbbbcccc")
				h.mount("run/docker/netns/"+sandbox, netnsA, 5)
			},
			want: Netns{Name: sandbox, NameFrom: RuntimeDocker},
		},
		{
			name: "docker run --network container:cache, the guest's process is the only one left",
			setup: func(h *host) {
				h.dockerContainer(redisID, "cache", sandbox)
				h.dockerContainer(nginxID, "debug", "")
				h.process(process{pid: 5000, comm: "tcpdump", netns: netnsA, cgroup: dockerScope(nginxID)})
				h.mount("run/docker/netns/"+sandbox, netnsA, 5)
			},
			want: Netns{Name: "cache", NameFrom: RuntimeDocker, Container: redis, Pids: []int{5000}},
		},
		{
			name: "dockerd's own namespace when that of PID 1 may not be read",
			setup: func(h *host) {
				h.remove("proc/1/ns/net")
				h.mount("run/docker/netns/default", hostNetns, 5)
			},
			inode: hostNetns,
			want:  Netns{Name: "host", NameFrom: RuntimeDocker},
		},
		{
			name: "a pod goes by the pod's name, whichever of its containers is met first",
			setup: func(h *host) {
				h.podContainer(nginxID, "container", "app")
				h.podContainer(pauseID, "sandbox", "")
				h.process(process{pid: 300, comm: "nginx", netns: netnsA, cgroup: criScope(nginxID)})
				h.process(process{pid: 400, comm: "pause", netns: netnsA, cgroup: criScope(pauseID)})
				h.mount("run/netns/"+cniFile, netnsA, 5)
			},
			want: Netns{Name: "shop/cart-7d9f", NameFrom: FromCRI, Container: cart, Pids: []int{300, 400}},
		},
		{
			name: "a pod whose pause process is gone",
			setup: func(h *host) {
				h.podContainer(nginxID, "container", "app")
				h.process(process{pid: 300, comm: "nginx", netns: netnsA, cgroup: criScope(nginxID)})
			},
			want: Netns{Name: "shop/cart-7d9f", NameFrom: FromCRI, Container: cart, Pids: []int{300}},
		},
		{
			name: "a podman pod goes by the container that holds its namespaces",
			setup: func(h *host) {
				h.process(process{pid: 300, comm: "nginx", netns: netnsA, cgroup: "0::/machine.slice/libpod-" + nginxID + ".scope\n"})
				h.process(process{pid: 400, comm: "catatonit", netns: netnsA, cgroup: "0::/machine.slice/libpod-" + pauseID + ".scope\n"})
				h.write("var/lib/containers/storage/overlay-containers/containers.json",
					`[{"id":"`+nginxID+`","names":["web"]},{"id":"`+pauseID+`","names":["shop-infra"]}]`)
				h.write("var/lib/containers/storage/overlay-containers/"+pauseID+"/userdata/config.json",
					`{"hostname":"shop","annotations":{"io.kubernetes.cri-o.ContainerType":"sandbox"}}`)
				h.mount("run/netns/netns-1b4e28ba-2fa1-11d2-883f-0016d3cca427", netnsA, 5)
				h.mount("run/netns/other", netnsB, 5)
			},
			hints: []int{300, 400},
			want: Netns{
				Name: "shop-infra", NameFrom: RuntimePodman, Pids: []int{300, 400},
				Container: Container{ID: pauseID, Name: "shop-infra", Runtime: RuntimePodman},
			},
		},
		{
			name:  "a pod's namespace that the runtime leaked",
			setup: func(h *host) { h.mount("run/netns/"+cniFile, netnsA, 5) },
			want:  Netns{Name: cniFile, NameFrom: FromCRI},
		},
		{
			name: "a name given by hand to a container's namespace goes first",
			setup: func(h *host) {
				h.dockerContainer(redisID, "cache", sandbox)
				h.process(process{pid: 4242, comm: "redis-server", netns: netnsA, cgroup: dockerScope(redisID)})
				h.mount("run/docker/netns/"+sandbox, netnsA, 5)
				h.mount("run/netns/redis0", netnsA, 5)
			},
			want: Netns{Name: "redis0", NameFrom: FromIPNetns, Container: redis, Pids: []int{4242}},
		},
		{
			name: "a container no file tells of goes by its ID",
			setup: func(h *host) {
				h.process(process{pid: 300, comm: "app", netns: netnsA, cgroup: "0::/ecs/77/" + redisID + "\n"})
			},
			want: Netns{Name: redisID[:12], NameFrom: FromCgroup, Container: Container{ID: redisID}, Pids: []int{300}},
		},
		{
			name: "lxc",
			setup: func(h *host) {
				h.process(process{pid: 300, comm: "systemd", netns: netnsA, cgroup: "0::/lxc.payload.build-7/init.scope\n"})
			},
			want: Netns{Name: "build-7", NameFrom: RuntimeLXC, Container: Container{ID: "build-7", Name: "build-7", Runtime: RuntimeLXC}, Pids: []int{300}},
		},
		{
			name: "unshare -n: known by its processes only",
			setup: func(h *host) {
				h.process(process{pid: 300, comm: "sh", netns: netnsA, cgroup: "0::/user.slice\n"})
				h.process(process{pid: 305, comm: "sh", netns: netnsA, cgroup: "0::/user.slice\n"})
			},
			hints: []int{2, -7, 0},
			want:  Netns{Pids: []int{300, 305}},
		},
		{
			name: "a thread of a container's agent visiting a namespace does not lend it its container",
			setup: func(h *host) {
				h.podContainer(nginxID, "container", "cni-agent")
				h.process(process{pid: 600, comm: "multus", netns: hostNetns, cgroup: criScope(nginxID)})
				h.process(process{pid: 607, tgid: 600, comm: "multus", netns: netnsA, cgroup: criScope(nginxID)})
				h.mount("run/netns/redis0", netnsA, 5)
			},
			hints: []int{607},
			want:  Netns{Name: "redis0", NameFrom: FromIPNetns, Pids: []int{607}},
		},
		{
			name: "a hint at a thread finds its process",
			setup: func(h *host) {
				h.dockerContainer(redisID, "cache", sandbox)
				h.process(process{pid: 4242, comm: "redis-server", netns: netnsA, cgroup: dockerScope(redisID)})
				h.process(process{pid: 4243, tgid: 4242, comm: "bio", netns: netnsA, cgroup: dockerScope(redisID)})
			},
			hints: []int{4243, 4242},
			want:  Netns{Name: "cache", NameFrom: RuntimeDocker, Container: redis, Pids: []int{4242}},
		},
		{
			name: "a /proc in which two threads claim to lead each other ends the search",
			setup: func(h *host) {
				h.process(process{pid: 600, tgid: 601, comm: "a", netns: netnsA})
				h.process(process{pid: 601, tgid: 600, comm: "b", netns: netnsA})
			},
			hints: []int{600},
			want:  Netns{Pids: []int{600, 601}},
		},
		{
			name:  "a wrong hint is not believed",
			setup: func(h *host) { h.process(process{pid: 300, comm: "sh", netns: netnsB}) },
			hints: []int{300},
			miss:  true,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			test.setup(h)
			inode := uint32(netnsA)
			if test.inode != 0 {
				inode = test.inode
			}
			test.want.Inode = inode
			got, ok := h.namer().Netns(inode, test.hints...)
			if ok == test.miss {
				t.Errorf("Netns(%d) ok = %v", inode, ok)
			}
			// A plain directory is not listed in the order of /proc.
			got.Pids = slices.Sorted(slices.Values(got.Pids))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Netns(%d) (-want +got):\n%s", inode, diff)
			}
		})
	}
}

func TestOfManyProcessesFourAreToldTheHintedFirst(t *testing.T) {
	h := newHost(t)
	for pid := 300; pid < 310; pid++ {
		h.process(process{pid: pid, comm: "sh", netns: netnsA})
	}
	n := h.namer()
	n.Netns(netnsB) // has the host walked: a good hint alone does not
	got, _ := n.Netns(netnsA, 307, 307)
	if len(got.Pids) != 4 || got.Pids[0] != 307 {
		t.Errorf("processes %v, want four and 307 the first", got.Pids)
	}
}

func TestVarRunLinkedToRunIsNotScannedTwice(t *testing.T) {
	h := newHost(t)
	h.mount("run/netns/redis0", netnsA, 5)
	h.link("var/run", filepath.Join(h.root, "run"))
	h.mounts["var/run/netns/redis0"] = h.mounts["run/netns/redis0"]
	n := h.namer()
	n.binds.refresh(time.Now())
	if h.stats != 1 || len(n.binds.byInode[netnsA]) != 1 {
		t.Errorf("%d files examined for one name, %d bindings", h.stats, len(n.binds.byInode[netnsA]))
	}
}

func TestNothingIsReadBeforeTheFirstQuestion(t *testing.T) {
	n := New(filepath.Join(t.TempDir(), "absent"))
	if _, ok := n.Netns(0); ok {
		t.Error("there is a namespace 0")
	}
	if !n.walk.walked.IsZero() || !n.binds.scanned.IsZero() || !n.hostRead.IsZero() {
		t.Error("something was read")
	}
	if _, ok := n.Netns(netnsA); ok || n.Host() != 0 {
		t.Error("a name from a host that is not there")
	}
}

func TestConcurrentAskersAgree(t *testing.T) {
	h := newHost(t)
	h.dockerContainer(redisID, "cache", sandbox)
	h.process(process{pid: 4242, comm: "redis-server", netns: netnsA, cgroup: dockerScope(redisID)})
	h.mount("run/netns/redis0", netnsB, 5)
	n := h.namer()
	var askers sync.WaitGroup
	for range 8 {
		askers.Go(func() {
			for range 50 {
				if got, ok := n.Netns(netnsA, 4242); !ok || got.Name != "cache" {
					t.Errorf("Netns(%d) = %+v, %v", netnsA, got, ok)
				}
				if got, ok := n.Netns(netnsB); !ok || got.Name != "redis0" {
					t.Errorf("Netns(%d) = %+v, %v", netnsB, got, ok)
				}
				if _, ok := n.Netns(1); ok {
					t.Error("Netns(1) is known")
				}
				if got, err := n.Process(4242); err != nil || got.Container.Name != "cache" {
					t.Errorf("Process(4242) = %+v, %v", got, err)
				}
				if got := n.Host(); got != hostNetns {
					t.Errorf("Host() = %d", got)
				}
			}
		})
	}
	askers.Wait()
}
