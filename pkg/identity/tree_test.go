// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	hostNetns = 4026531840
	redisID   = "3f2a9c1de07b4a55c8f1e6d2b9a0437fe5c6d8a1b2c3d4e5f60718293a4b5c6d"
	nginxID   = "a81f5d0e22c94b7bb6f3d1c0e9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0"
	pauseID   = "0b5e3c7d9f1a2b4c6d8e0f1a3b5c7d9e1f2a4b6c8d0e2f4a6b8c0d1e3f5a7b9c"
)

// host is a directory tree that looks like a host's /proc, /run and /var. A
// bind mount of a namespace cannot be put there: mounts stands in for stat(2)
// of those, by path below the root.
type host struct {
	tb     testing.TB
	root   string
	mounts map[string]nsfsFile
	stats  int // how often stat was asked
}

func newHost(tb testing.TB) *host {
	tb.Helper()
	h := &host{tb: tb, root: tb.TempDir(), mounts: make(map[string]nsfsFile)}
	h.write("proc/stat", "cpu  1 2 3\nintr 12345 0 0 9\nctxt 7\nbtime 1700000000\nprocesses 99\n")
	h.process(process{pid: 1, comm: "systemd", netns: hostNetns, cgroup: "0::/init.scope\n"})
	return h
}

// namer returns a Namer that sees the tree and its mounts.
func (h *host) namer() *Namer {
	n := New(h.root)
	n.binds.stat = func(path string) (nsfsFile, bool) {
		h.stats++
		relative, err := filepath.Rel(h.root, path)
		if err != nil {
			return nsfsFile{}, false
		}
		file, ok := h.mounts[relative]
		return file, ok
	}
	return n
}

func (h *host) write(path, content string) {
	h.tb.Helper()
	path = filepath.Join(h.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		h.tb.Fatal(err)
	}
}

func (h *host) link(path, target string) {
	h.tb.Helper()
	path = filepath.Join(h.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.tb.Fatal(err)
	}
	os.Remove(path)
	if err := os.Symlink(target, path); err != nil {
		h.tb.Fatal(err)
	}
}

// remove deletes path; a namespace mounted there is unmounted.
func (h *host) remove(path string) {
	h.tb.Helper()
	delete(h.mounts, path)
	if err := os.RemoveAll(filepath.Join(h.root, path)); err != nil {
		h.tb.Fatal(err)
	}
}

// mount puts a bind mount of a namespace under path.
func (h *host) mount(path string, inode uint32, born int64) {
	h.tb.Helper()
	h.write(path, "")
	h.mounts[path] = nsfsFile{inode: inode, born: born}
}

// process is one thread of the tree; tgid and start have defaults.
type process struct {
	pid, tgid int
	comm      string
	netns     uint32
	cgroup    string
	start     uint64
	threads   int
	exe       string
}

func (h *host) process(p process) {
	h.tb.Helper()
	if p.tgid == 0 {
		p.tgid = p.pid
	}
	if p.start == 0 {
		p.start = uint64(p.pid) * 10
	}
	if p.threads == 0 {
		p.threads = 1
	}
	dir := fmt.Sprintf("proc/%d/", p.pid)
	h.write(dir+"stat", fmt.Sprintf("%d (%s) S 1 %d %d 0 -1 4194560 900 0 0 0 12 7 0 0 20 0 %d 0 %d 11063296 640 "+
		"18446744073709551615 1 1 0 0 0 0 0 4096 17475 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
		p.pid, p.comm, p.tgid, p.tgid, p.threads, p.start))
	escaped := strings.NewReplacer("\n", `\n`, `\`, `\\`).Replace(p.comm)
	h.write(dir+"status", fmt.Sprintf("Name:\t%s\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t%d\nNgid:\t0\nPid:\t%d\n"+
		"PPid:\t1\nThreads:\t%d\n", escaped, p.tgid, p.pid, p.threads))
	h.write(dir+"cgroup", p.cgroup)
	h.link(dir+"ns/net", fmt.Sprintf("net:[%d]", p.netns))
	if p.exe != "" {
		h.link(dir+"exe", p.exe)
	}
}

// exit ends the process that tests call 4242.
func (h *host) exit() { h.remove("proc/4242") }

// dockerContainer writes Docker's record of a container. With an empty
// sandbox it is one that joined another's network.
func (h *host) dockerContainer(id, name, sandbox string) {
	h.tb.Helper()
	key := ""
	if sandbox != "" {
		key = "/var/run/docker/netns/" + sandbox
	}
	h.write("var/lib/docker/containers/"+id+"/config.v2.json", fmt.Sprintf(
		`{"StreamConfig":{},"State":{"Running":true,"Pid":4242},"ID":%q,"Created":"2024-05-01T10:00:00Z",`+
			`"Path":"docker-entrypoint.sh","Config":{"Hostname":%q,"Labels":{"maintainer":"ops"}},`+
			`"NetworkSettings":{"Bridge":"","SandboxID":%q,"SandboxKey":%q,"Ports":{}},"Name":"/%s","Driver":"overlay2"}`,
		id, id[:12], sandbox, key, name))
}

// podContainer writes containerd's bundle of one container of the pod shop/cart-7d9f.
func (h *host) podContainer(id, kind, name string) {
	h.tb.Helper()
	note := ""
	if name != "" {
		note = fmt.Sprintf(`"io.kubernetes.cri.container-name":%q,`, name)
	}
	h.write("run/containerd/io.containerd.runtime.v2.task/k8s.io/"+id+"/config.json", fmt.Sprintf(
		`{"ociVersion":"1.1.0","process":{"args":["/pause"]},"hostname":"cart-7d9f","annotations":{%s`+
			`"io.kubernetes.cri.container-type":%q,"io.kubernetes.cri.sandbox-id":%q,`+
			`"io.kubernetes.cri.sandbox-name":"cart-7d9f","io.kubernetes.cri.sandbox-namespace":"shop"}}`,
		note, kind, pauseID))
}

func dockerScope(id string) string { return "0::/system.slice/docker-" + id + ".scope\n" }

func criScope(id string) string {
	return "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod6f3a_11.slice/cri-containerd-" + id + ".scope\n"
}
