// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxBindings bounds how many files are looked at in each directory of
	// bind mounts, and so the memory of a scan.
	maxBindings = 65536
	// maxAliases is how many names of one namespace are weighed.
	maxAliases = 4
)

// nsfsFile identifies a namespace through a bind mount of it.
type nsfsFile struct {
	inode uint32
	// born is the inode's change time in ns. While it is bind-mounted, the
	// inode stays in memory and this stays the same; it tells a namespace
	// from a later one that was given the same number.
	born int64
}

// nsfsStat examines a file: false if it is no namespace. It never opens it.
type nsfsStat func(path string) (nsfsFile, bool)

// newNsfsStat returns the real one. All namespaces are files of one nsfs
// superblock, whose device number our own namespace tells.
func newNsfsStat() nsfsStat {
	device := sync.OnceValue(func() uint64 {
		var own unix.Stat_t
		if err := unix.Stat("/proc/self/ns/net", &own); err != nil {
			return 0
		}
		return own.Dev
	})
	return func(path string) (nsfsFile, bool) {
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil || st.Dev != device() || st.Ino > math.MaxUint32 {
			return nsfsFile{}, false
		}
		return nsfsFile{inode: uint32(st.Ino), born: st.Ctim.Nano()}, true
	}
}

// binding is a bind mount of a namespace under a name.
type binding struct {
	path string
	kind bindingKind
	file nsfsFile
}

func (b binding) name() string { return filepath.Base(b.path) }

// bindingKind orders bindings by how much the name tells people.
type bindingKind int

const (
	bindUser   bindingKind = iota // `ip netns add NAME`
	bindDocker                    // 12 digits of a sandbox ID, or "default"
	bindCRI                       // cni-UUID or UUID
	bindPodman                    // netns-UUID
)

// source is what Netns.NameFrom says of a name that is the file's own.
func (k bindingKind) source() string {
	switch k {
	case bindDocker:
		return RuntimeDocker
	case bindCRI:
		return FromCRI
	case bindPodman:
		return RuntimePodman
	}
	return FromIPNetns
}

// kindOf tells the names that people give in /run/netns from those that
// runtimes make up there.
func kindOf(name string) bindingKind {
	if uuid, ok := strings.CutPrefix(name, "netns-"); ok && isUUID(uuid) {
		return bindPodman
	}
	if strings.HasPrefix(name, "cni-") || isUUID(name) {
		return bindCRI
	}
	return bindUser
}

// bindings is what one pass over the directories of bind mounts saw. It is a
// list of candidates: what is taken from it is looked at again. The namer's
// resolving lock guards it.
type bindings struct {
	root    string
	stat    nsfsStat
	scanned time.Time
	byInode map[uint32][]binding
}

// refresh scans again, unless that was done within the last retryAfter, and
// says whether it did.
func (b *bindings) refresh(now time.Time) bool {
	if now.Sub(b.scanned) < retryAfter {
		return false
	}
	b.byInode = make(map[uint32][]binding)
	b.scanDir(filepath.Join(b.root, "run/netns"), kindOf)
	b.scanDir(filepath.Join(b.root, "run/docker/netns"), func(string) bindingKind { return bindDocker })
	// /var/run is a link to /run nearly everywhere. When it is, everything
	// was seen already; and below a root other than / an absolute link would
	// lead out of that root.
	varRun := filepath.Join(b.root, "var/run")
	if info, err := os.Lstat(varRun); err == nil && info.IsDir() {
		b.scanDir(filepath.Join(varRun, "netns"), kindOf)
		b.scanDir(filepath.Join(varRun, "docker/netns"), func(string) bindingKind { return bindDocker })
	}
	b.scanned = now
	return true
}

func (b *bindings) scanDir(dir string, kind func(name string) bindingKind) {
	eachName(dir, maxBindings, func(name string) {
		found := binding{path: filepath.Join(dir, name), kind: kind(name)}
		if cleanName(name) == "" {
			return
		}
		// A file left behind after its namespace was unmounted fails here.
		file, ok := b.stat(found.path)
		if !ok {
			return
		}
		found.file = file
		b.byInode[file.inode] = append(b.byInode[file.inode], found)
	})
}

// of returns the bindings of inode that are there now, the best name first.
func (b *bindings) of(inode uint32, earlier *entry) []binding {
	candidates := b.byInode[inode]
	if earlier != nil {
		candidates = slices.Concat(earlier.binds, candidates)
	}
	var live []binding
	for _, candidate := range candidates {
		same := func(known binding) bool { return known.path == candidate.path }
		if len(live) == maxAliases || slices.ContainsFunc(live, same) {
			continue
		}
		if file, ok := b.stat(candidate.path); ok && file.inode == inode {
			candidate.file = file
			live = append(live, candidate)
		}
	}
	slices.SortStableFunc(live, func(x, y binding) int {
		if x.kind != y.kind {
			return int(x.kind - y.kind)
		}
		return strings.Compare(x.path, y.path)
	})
	return live
}
