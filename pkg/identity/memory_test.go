// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestNameOverTime tells what becomes of a name as its namespace changes and
// goes. Each change is followed by one second, after which it has to show.
func TestNameOverTime(t *testing.T) {
	redis := Container{ID: redisID, Name: "cache", Runtime: RuntimeDocker}
	nginx := Container{ID: nginxID, Name: "web", Runtime: RuntimeDocker}
	dockerRun := func(h *host) {
		h.dockerContainer(redisID, "cache", sandbox)
		h.process(process{pid: 4242, comm: "redis-server", netns: netnsA, cgroup: dockerScope(redisID)})
		h.mount("run/docker/netns/"+sandbox, netnsA, 5)
	}
	named := Netns{Name: "cache", NameFrom: RuntimeDocker, Container: redis, Pids: []int{4242}}
	tests := []struct {
		name          string
		before, after func(h *host)
		first, then   Netns
	}{
		{
			name:   "nothing changes",
			before: dockerRun,
			after:  func(*host) {},
			first:  named,
			then:   named,
		},
		{
			name:   "a namespace that is gone keeps its name",
			before: dockerRun,
			after: func(h *host) {
				h.exit()
				h.remove("run/docker/netns/" + sandbox)
				h.remove("var/lib/docker/containers/" + redisID)
			},
			first: named,
			then:  Netns{Name: "cache", NameFrom: RuntimeDocker, Container: redis, Gone: true},
		},
		{
			name:   "its number goes to another container",
			before: dockerRun,
			after: func(h *host) {
				h.exit()
				h.remove("run/docker/netns/" + sandbox)
				h.dockerContainer(nginxID, "web", "aaaabbbbcccc")
				h.process(process{pid: 5151, comm: "nginx", netns: netnsA, cgroup: dockerScope(nginxID)})
				h.mount("run/docker/netns/aaaabbbbcccc", netnsA, 9)
			},
			first: named,
			then:  Netns{Name: "web", NameFrom: RuntimeDocker, Container: nginx, Pids: []int{5151}},
		},
		{
			name:   "its number goes to a namespace without a name, and its process's ID to a process there",
			before: dockerRun,
			after: func(h *host) {
				h.exit()
				h.remove("run/docker/netns/" + sandbox)
				h.process(process{pid: 4242, comm: "sh", netns: netnsA, cgroup: "0::/user.slice\n", start: 990000})
			},
			first: named,
			then:  Netns{Pids: []int{4242}},
		},
		{
			name: "ip netns del redis0; ip netns add redis1 gets the same number",
			before: func(h *host) {
				h.mount("run/netns/redis0", netnsA, 5)
			},
			after: func(h *host) {
				h.remove("run/netns/redis0")
				h.mount("run/netns/redis1", netnsA, 9)
			},
			first: Netns{Name: "redis0", NameFrom: FromIPNetns},
			then:  Netns{Name: "redis1", NameFrom: FromIPNetns},
		},
		{
			name:   "ip netns del and add of one name gets another number",
			before: func(h *host) { h.mount("run/netns/redis0", netnsA, 5) },
			after:  func(h *host) { h.mount("run/netns/redis0", netnsB, 9) },
			first:  Netns{Name: "redis0", NameFrom: FromIPNetns},
			then:   Netns{Name: "redis0", NameFrom: FromIPNetns, Gone: true},
		},
		{
			name: "ip netns del and add of one name: what lived in the old one is not in the new one",
			before: func(h *host) {
				h.dockerContainer(redisID, "cache", "")
				h.mount("run/netns/redis0", netnsA, 5)
				h.process(process{pid: 4242, comm: "redis-server", netns: netnsA, cgroup: dockerScope(redisID)})
			},
			after: func(h *host) {
				h.exit()
				h.mount("run/netns/redis0", netnsA, 9)
			},
			first: Netns{Name: "redis0", NameFrom: FromIPNetns, Container: redis, Pids: []int{4242}},
			then:  Netns{Name: "redis0", NameFrom: FromIPNetns},
		},
		{
			name: "ip netns del while a process stays inside: it is still redis0",
			before: func(h *host) {
				h.mount("run/netns/redis0", netnsA, 5)
				h.process(process{pid: 300, comm: "sh", netns: netnsA})
			},
			after: func(h *host) { h.remove("run/netns/redis0") },
			first: Netns{Name: "redis0", NameFrom: FromIPNetns, Pids: []int{300}},
			then:  Netns{Name: "redis0", NameFrom: FromIPNetns, Pids: []int{300}},
		},
		{
			name:   "docker rm that leaks the namespace: its container is still told",
			before: dockerRun,
			after: func(h *host) {
				h.exit()
				h.remove("var/lib/docker/containers/" + redisID)
			},
			first: named,
			then:  Netns{Name: "cache", NameFrom: RuntimeDocker, Container: redis},
		},
		{
			name:   "a name comes to a namespace that had none",
			before: func(h *host) { h.process(process{pid: 300, comm: "sh", netns: netnsA}) },
			after:  func(h *host) { h.mount("run/netns/redis0", netnsA, 5) },
			first:  Netns{Pids: []int{300}},
			then:   Netns{Name: "redis0", NameFrom: FromIPNetns, Pids: []int{300}},
		},
		{
			name: "Docker writes a container's record after its process runs",
			before: func(h *host) {
				h.process(process{pid: 4242, comm: "redis-server", netns: netnsA, cgroup: dockerScope(redisID)})
			},
			after: func(h *host) { h.dockerContainer(redisID, "cache", sandbox) },
			first: Netns{Name: redisID[:12], NameFrom: RuntimeDocker, Container: Container{ID: redisID, Runtime: RuntimeDocker}, Pids: []int{4242}},
			then:  named,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				test.before(h)
				n := h.namer()
				check := func(when string, want Netns) {
					t.Helper()
					want.Inode = netnsA
					got, ok := n.Netns(netnsA)
					if diff := cmp.Diff(want, got); diff != "" || !ok {
						t.Errorf("%s, ok = %v (-want +got):\n%s", when, ok, diff)
					}
				}
				check("at first", test.first)
				test.after(h)
				check("within the same second", test.first)
				time.Sleep(retryAfter)
				check("a second later", test.then)
				time.Sleep(time.Hour)
				check("an hour later", test.then)
			})
		})
	}
}

func TestNamespaceMadeAfterAMissIsFoundASecondLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		n := h.namer()
		if _, ok := n.Netns(netnsA); ok {
			t.Fatal("known before it was made")
		}
		h.process(process{pid: 300, comm: "sh", netns: netnsA})
		time.Sleep(retryAfter - time.Millisecond)
		if _, ok := n.Netns(netnsA, 300); ok {
			t.Error("looked again within the second")
		}
		time.Sleep(time.Millisecond)
		if _, ok := n.Netns(netnsA); !ok {
			t.Error("not found after a second")
		}
	})
}

func TestAskersOfManyNamespacesShareOneScanASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		for i := range 10 {
			h.mount("run/netns/ns"+string(rune('a'+i)), uint32(netnsA+i), 5)
		}
		n := h.namer()
		ask := func(from uint32) {
			for inode := range uint32(500) {
				n.Netns(from + inode)
			}
		}
		ask(1)
		first := n.walk.walked
		time.Sleep(retryAfter / 2)
		ask(1001)
		if !n.walk.walked.Equal(first) || h.stats != 10 {
			t.Errorf("walked again %v after the first walk, %d files examined", n.walk.walked.Sub(first), h.stats)
		}
		time.Sleep(retryAfter)
		ask(1)
		if h.stats != 20 || n.walk.walked.Equal(first) {
			t.Errorf("a second later %d files examined in all, want 20, and a walk", h.stats)
		}
	})
}

func TestNameInUseCostsNoScan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.dockerContainer(redisID, "cache", sandbox)
		h.process(process{pid: 4242, comm: "redis-server", netns: netnsA, cgroup: dockerScope(redisID)})
		n := h.namer()
		n.Netns(netnsA)
		walked, scanned := n.walk.walked, n.binds.scanned
		for range 20 {
			time.Sleep(retryAfter)
			if got, ok := n.Netns(netnsA); !ok || got.Name != "cache" {
				t.Fatalf("Netns = %+v, %v", got, ok)
			}
		}
		if !n.walk.walked.Equal(walked) || !n.binds.scanned.Equal(scanned) {
			t.Error("a namespace that stayed where it was had the host scanned")
		}
	})
}

func TestNamespaceOfAStrayThreadIsNotWorthAWalkASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.process(process{pid: 600, comm: "dockerd", netns: hostNetns})
		h.process(process{pid: 607, tgid: 600, comm: "dockerd", netns: netnsA})
		n := h.namer()
		walks, last := 0, n.walk.walked
		for range 20 {
			if got, ok := n.Netns(netnsA, 607); !ok || len(got.Pids) != 1 {
				t.Fatalf("Netns = %+v, %v", got, ok)
			}
			if !n.walk.walked.Equal(last) {
				walks, last = walks+1, n.walk.walked
			}
			time.Sleep(retryAfter)
		}
		if walks != 4 {
			t.Errorf("%d walks in 20 s, want 4", walks)
		}
	})
}

func TestPodAskedForBeforeItsProcessesRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.mount("run/netns/"+cniFile, netnsA, 5)
		n := h.namer()
		if got, _ := n.Netns(netnsA); got.Name != cniFile {
			t.Fatalf("before: %+v", got)
		}
		h.podContainer(pauseID, "sandbox", "")
		h.process(process{pid: 400, comm: "pause", netns: netnsA, cgroup: criScope(pauseID)})
		time.Sleep(searchAfter)
		if got, _ := n.Netns(netnsA); got.Name != "shop/cart-7d9f" {
			t.Errorf("five seconds later: %+v", got)
		}
	})
}

func TestAskingForUnknownNamespacesCostsNoName(t *testing.T) {
	h := newHost(t)
	h.mount("run/netns/redis0", netnsA, 5)
	n := h.namer()
	n.Netns(netnsA)
	for inode := range uint32(2 * maxMisses) {
		n.Netns(inode + 1)
	}
	if e := n.earlier(netnsA); e == nil || e.netns.Name != "redis0" {
		t.Error("redis0 was forgotten")
	}
	if len(n.misses.entries) != maxMisses {
		t.Errorf("%d misses remembered, want the limit, %d", len(n.misses.entries), maxMisses)
	}
}

func TestLRUDropsTheLeastRecentlyUsed(t *testing.T) {
	l := newLRU[int, string](2)
	l.put(1, "one")
	l.put(2, "two")
	l.get(1)
	l.put(3, "three")
	if l.get(2) != nil || l.get(1) == nil || l.get(3) == nil {
		t.Errorf("2 was the least recently used; kept: %v", l.entries)
	}
	l.put(1, "ONE")
	l.remove(3)
	l.remove(99)
	if got := l.get(1); got == nil || *got != "ONE" || len(l.entries) != 1 {
		t.Errorf("1 is %v among %d entries, want ONE alone", got, len(l.entries))
	}
	l.remove(1)
	l.put(4, "four")
	l.put(5, "five")
	l.put(6, "six")
	if l.get(4) != nil || len(l.entries) != 2 {
		t.Errorf("after removals the limit of 2 gives %d entries", len(l.entries))
	}
}
