// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"testing"
	"testing/synctest"
)

// crowd is a host of 5,000 processes in 500 namespaces, each of one container.
func crowd(b *testing.B) *host {
	h := newHost(b)
	for i := range 5000 {
		id := []byte(redisID)
		for digit, group := 0, i/10; group > 0; digit, group = digit+1, group/10 {
			id[digit] = byte('0' + group%10)
		}
		if i%10 == 0 {
			h.dockerContainer(string(id), "web", "")
		}
		h.process(process{pid: 1000 + i, comm: "nginx", netns: uint32(netnsA + i/10), cgroup: dockerScope(string(id))})
	}
	return h
}

// BenchmarkFirstLookup is a question that walks 5,000 processes.
func BenchmarkFirstLookup(b *testing.B) {
	h := crowd(b)
	b.ReportAllocs()
	for b.Loop() {
		if got, ok := New(h.root).Netns(netnsA + 250); !ok || got.Name != "web" {
			b.Fatalf("Netns = %+v, %v", got, ok)
		}
	}
}

// BenchmarkHintedLookup is the same question with a process to look at.
func BenchmarkHintedLookup(b *testing.B) {
	h := crowd(b)
	b.ReportAllocs()
	for b.Loop() {
		if got, ok := New(h.root).Netns(netnsA+250, 3503); !ok || got.Name != "web" {
			b.Fatalf("Netns = %+v, %v", got, ok)
		}
	}
}

// BenchmarkCachedLookup is what a question costs within a second of the last.
func BenchmarkCachedLookup(b *testing.B) {
	h := newHost(b)
	h.mount("run/netns/redis0", netnsA, 5)
	n := h.namer()
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := n.Netns(netnsA, 300); !ok {
			b.Fatal("not found")
		}
	}
}

// BenchmarkProcess is one description of a process in a container.
func BenchmarkProcess(b *testing.B) {
	h := newHost(b)
	h.dockerContainer(redisID, "cache", "")
	h.process(process{pid: 300, comm: "redis-server", netns: netnsA, cgroup: dockerScope(redisID)})
	n := h.namer()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := n.Process(300); err != nil {
			b.Fatal(err)
		}
	}
}

func TestCachedLookupAllocatesNothing(t *testing.T) {
	// In the bubble no time passes, however busy the machine is.
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.mount("run/netns/redis0", netnsA, 5)
		n := h.namer()
		ask := func() {
			n.Netns(netnsA, 300)
			n.Netns(netnsB)
			n.Netns(hostNetns)
		}
		ask()
		if allocs := testing.AllocsPerRun(100, ask); allocs != 0 {
			t.Errorf("%v allocations for three cached lookups", allocs)
		}
	})
}
