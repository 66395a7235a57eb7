// SPDX-License-Identifier: Apache-2.0

package identity

import "testing"

func TestFindNetns(t *testing.T) {
	h := newHost(t)
	h.mount("run/netns/red", netnsA, 5)
	h.dockerContainer(redisID, "cache", "")
	h.process(process{pid: 300, comm: "redis-server", netns: netnsB, cgroup: dockerScope(redisID)})
	// Two containers of one name: of two runtimes, or of two hosts' worth of records.
	h.dockerContainer(nginxID, "web", "")
	h.process(process{pid: 301, comm: "nginx", netns: netnsB + 1, cgroup: dockerScope(nginxID)})
	h.dockerContainer(pauseID, "web", "")
	h.process(process{pid: 302, comm: "nginx", netns: netnsB + 2, cgroup: dockerScope(pauseID)})
	n := h.namer()
	for _, test := range []struct {
		name string
		want []uint32
	}{
		{"red", []uint32{netnsA}},
		{"cache", []uint32{netnsB}},
		{redisID, []uint32{netnsB}},
		{redisID[:12], []uint32{netnsB}},
		{redisID[:5], nil},
		{"host", []uint32{hostNetns}},
		{"web", []uint32{netnsB + 1, netnsB + 2}},
		{"re", nil},
		{"", nil},
	} {
		found := n.FindNetns(test.name)
		same := len(found) == len(test.want)
		for i := range found {
			same = same && found[i].Inode == test.want[i]
		}
		if !same {
			t.Errorf("FindNetns(%q) = %+v, want %v", test.name, found, test.want)
		}
	}
}
