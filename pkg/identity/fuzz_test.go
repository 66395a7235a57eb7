// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"strings"
	"testing"
	"unicode"
)

// checkName fails unless name can be shown on a terminal and kept in memory.
func checkName(t *testing.T, what, name string) {
	t.Helper()
	if len(name) > maxName || strings.ContainsFunc(name, unicode.IsControl) {
		t.Errorf("%s %q is no name", what, name)
	}
}

func checkFacts(t *testing.T, facts containerFacts) {
	t.Helper()
	checkName(t, "container", facts.Name)
	for part := range strings.SplitSeq(facts.Pod, "/") {
		checkName(t, "pod", part)
	}
	if facts.sandboxKey != "" && !isSandboxKey(facts.sandboxKey) {
		t.Errorf("sandbox key %q", facts.sandboxKey)
	}
	if facts.sandboxID != "" && !isContainerID(facts.sandboxID) {
		t.Errorf("sandbox ID %q", facts.sandboxID)
	}
}

func FuzzCgroup(f *testing.F) {
	f.Add([]byte(dockerScope(redisID)))
	f.Add([]byte(criScope(redisID)))
	f.Add([]byte("4:cpu:/lxc/a\n0::/machine.slice/machine-a\\x2db.scope\n"))
	f.Add([]byte("0::/machine.slice/machine-\\x.scope/systemd-nspawn@\\xff.service"))
	f.Add([]byte("1:a:/x.slice:crio:" + redisID))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, ok := parseCgroup(data)
		if ok != (c != Container{}) {
			t.Errorf("parseCgroup = %+v, %v", c, ok)
		}
		checkName(t, "container", c.Name)
		if ok && c.Name == "" && !isContainerID(c.ID) {
			t.Errorf("container ID %q would be used in a path", c.ID)
		}
	})
}

func FuzzStat(f *testing.F) {
	f.Add([]byte("66 (evil) R 9 (9) S 1 66 66 0 -1 0 0 0 0 0 0 0 0 0 20 0 4 0 777 0 0\n"))
	f.Add([]byte("1 (x)"))
	f.Add([]byte(")("))
	f.Fuzz(func(t *testing.T, data []byte) {
		stat, err := parseStat(data)
		if err == nil && (stat.threads < 0 || len(stat.comm) > len(data)) {
			t.Errorf("parseStat = %+v", stat)
		}
	})
}

func FuzzStatus(f *testing.F) {
	f.Add([]byte("Name:\tTgid:\t5\nTgid:\t4242\nPid:\t4243\n"))
	f.Add([]byte("Tgid:\t-1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if tgid, err := parseTgid(data); err == nil && tgid < 0 {
			t.Errorf("parseTgid = %d", tgid)
		}
		if _, err := parseBootTime(data); err == nil && !strings.Contains(string(data), "btime ") {
			t.Error("a time of boot from nowhere")
		}
	})
}

func FuzzNetLink(f *testing.F) {
	f.Add("net:[4026531840]")
	f.Add("net:[4294967296]")
	f.Add("mnt:[4026531841]")
	f.Fuzz(func(t *testing.T, target string) {
		if inode, ok := parseNetLink(target); ok && inode == 0 {
			t.Errorf("parseNetLink(%q) = 0, true", target)
		}
	})
}

func FuzzDockerConfig(f *testing.F) {
	f.Add([]byte(`{"ID":"` + redisID + `","Name":"/cache","NetworkSettings":{"SandboxKey":"/var/run/docker/netns/5f21b4aa09cd"}}`))
	f.Add([]byte(`{"Config":{"Labels":{"io.kubernetes.pod.name":"a\u0000","io.kubernetes.docker.type":"podsandbox"}}}`))
	f.Add([]byte(`{"Config":[],"NetworkSettings":7,"Name":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		facts, ok := parseDockerConfig(data, redisID)
		if ok && facts.ID != redisID {
			t.Errorf("ID %q", facts.ID)
		}
		checkFacts(t, facts)
	})
}

func FuzzOCIConfig(f *testing.F) {
	f.Add([]byte(`{"hostname":"web","annotations":{"io.kubernetes.cri.sandbox-name":"cart","io.kubernetes.cri.sandbox-id":"` + pauseID + `"}}`))
	f.Add([]byte(`{"hostname":3,"annotations":{"nerdctl/name":null}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		facts, _ := parseOCIConfig(data, redisID)
		checkFacts(t, facts)
	})
}

func FuzzStoredContainers(f *testing.F) {
	f.Add([]byte(`[{"id":"` + redisID + `","names":["cache"]},{"id":7},{"names":[""]}]`))
	f.Add([]byte(`{"id":"x"}`))
	f.Add([]byte(`[[[[`))
	f.Fuzz(func(t *testing.T, data []byte) {
		parseStoredContainers(data, func(id, name string) {
			checkName(t, "container", name)
			if !isContainerID(id) || name == "" {
				t.Errorf("container %q named %q", id, name)
			}
		})
	})
}
