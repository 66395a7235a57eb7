// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

const userlandSuite = "bookworm"

// userlandPackages bring the programs of userlandFiles. Their dependencies bring
// the libraries.
var userlandPackages = []string{"busybox-static", "dash", "bash", "iproute2", "ethtool", "ncurses-base"}

// userlandFiles are the programs and data that the guest gets, relative to the
// root; a directory stands for all in it.
var userlandFiles = []string{
	"bin/busybox",
	// Debian's busybox shell prefers its own applets, so that "ip" in a script would
	// be the wrong one. dash and bash run what PATH says.
	"bin/dash", "bin/bash",
	"bin/ip", "bin/ss", "sbin/tc", "sbin/bridge", "usr/bin/nstat", "sbin/ethtool",
	"etc/iproute2",
	"usr/lib/x86_64-linux-gnu/tc/normal.dist", "usr/lib/x86_64-linux-gnu/tc/pareto.dist",
	"lib/terminfo/l/linux", "lib/terminfo/x/xterm", "lib/terminfo/x/xterm-256color", "lib/terminfo/v/vt100",
	"lib/terminfo/s/screen", "lib/terminfo/s/screen-256color", "lib/terminfo/t/tmux-256color",
}

// userlandText are small files of the guest's own.
var userlandText = map[string]string{
	"etc/passwd":        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
	"etc/group":         "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
	"etc/hosts":         "127.0.0.1 localhost lab\n::1 localhost lab\n",
	"etc/hostname":      "lab\n",
	"etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\nprotocols: files\nservices: files\n",
	"etc/profile":       "export PS1='\\u@\\h:\\w\\$ '\n",
	"etc/protocols":     "ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nesp 50 ESP\nipv6-icmp 58 IPv6-ICMP\nsctp 132 SCTP\n",
}

// appletsLeftOut are busybox's stand-ins for programs that the guest has for real
// or that make no sense under the lab's init.
var appletsLeftOut = map[string]bool{
	"ipaddr": true, "iplink": true, "ipneigh": true, "iproute": true, "iprule": true, "iptunnel": true,
	"init": true, "linuxrc": true, "modprobe": true, "depmod": true,
}

// userlandVersion is part of the tree's place in the cache: change it with the code
// that lays out the tree.
const userlandVersion = "1"

// FetchUserland returns the directory of a small root tree with a shell, busybox
// and iproute2, from Debian's packages. It is laid out like a Debian system with all
// programs in usr/bin; the links from bin, sbin and lib are not in it.
func FetchUserland(ctx context.Context, cache Cache) (dir string, err error) {
	sum := sha256.Sum256([]byte(fmt.Sprint(userlandVersion, userlandPackages, userlandFiles, userlandText, appletsLeftOut)))
	dir = filepath.Join(cache.Dir, "userland", hex.EncodeToString(sum[:8]))
	err = cache.Publish(ctx, dir, func(tmp string) error {
		cache.progressf("userland: fetching %s from %s", strings.Join(userlandPackages, ", "), userlandSuite)
		return cache.unpacked(ctx, userlandSuite, userlandPackages, func(root string) error { return layOutUserland(ctx, root, tmp) })
	})
	if err != nil {
		return "", fmt.Errorf("making the guest's userland: %w", err)
	}
	return dir, nil
}

// layOutUserland copies what the guest needs of an unpacked tree into root.
func layOutUserland(ctx context.Context, unpacked, root string) error {
	t := &treeCopy{from: unpacked, to: root, done: map[string]bool{}}
	for _, name := range userlandFiles {
		if err := t.tree(name); err != nil {
			return err
		}
	}
	for name, text := range userlandText {
		file := filepath.Join(root, guestPath(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := os.Symlink("dash", filepath.Join(root, "usr/bin/sh")); err != nil {
		return err
	}
	// Paths that programs expect as they were before /run.
	if err := os.MkdirAll(filepath.Join(root, "var"), 0o755); err != nil {
		return err
	}
	if err := os.Symlink("../run", filepath.Join(root, "var/run")); err != nil {
		return err
	}
	return linkApplets(ctx, root)
}

// linkApplets links busybox's applets where the tree has no program of that name.
func linkApplets(ctx context.Context, root string) error {
	out, err := exec.CommandContext(ctx, filepath.Join(root, "usr/bin/busybox"), "--list").Output()
	if err != nil {
		return fmt.Errorf("listing busybox's applets: %w", withStderr(err))
	}
	for _, applet := range strings.Fields(string(out)) {
		if appletsLeftOut[applet] || strings.Contains(applet, "/") {
			continue
		}
		err := os.Symlink("busybox", filepath.Join(root, "usr/bin", applet))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// treeCopy copies files of one root tree to another, and with every program the
// libraries that it loads.
type treeCopy struct {
	from, to string
	done     map[string]bool
}

func (t *treeCopy) tree(name string) error {
	return filepath.WalkDir(filepath.Join(t.from, name), func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(t.from, file)
		if err != nil {
			return err
		}
		return t.file(filepath.ToSlash(rel))
	})
}

// file copies one file under its name; what a link points to is copied in its place.
func (t *treeCopy) file(name string) error {
	if t.done[name] {
		return nil
	}
	t.done[name] = true
	source, err := t.follow(name)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	target := filepath.Join(t.to, guestPath(name))
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(target, data, info.Mode().Perm()); err != nil {
		return err
	}
	if !strings.HasPrefix(string(data[:min(4, len(data))]), elf.ELFMAG) {
		return nil
	}
	return t.libraries(name, source)
}

// follow returns the file that name leads to. Absolute links start at the tree's
// root.
func (t *treeCopy) follow(name string) (string, error) {
	for range 10 {
		file := filepath.Join(t.from, name)
		link, err := os.Readlink(file)
		if err != nil {
			return file, nil // no link, or missing, which the caller finds out
		}
		if !path.IsAbs(link) {
			link = path.Join(path.Dir(name), link)
		}
		name = strings.TrimPrefix(path.Clean("/"+link), "/")
	}
	return "", fmt.Errorf("too many links from %s", name)
}

// libraries copies what the dynamic loader would load for a program, and the loader.
func (t *treeCopy) libraries(name, source string) error {
	f, err := elf.Open(source)
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	defer f.Close()
	for _, prog := range f.Progs {
		if prog.Type == elf.PT_INTERP && prog.Filesz < 4096 {
			text := make([]byte, prog.Filesz)
			if _, err := prog.ReadAt(text, 0); err != nil {
				return fmt.Errorf("reading %s: %w", name, err)
			}
			if err := t.file(strings.Trim(string(text), "/\x00")); err != nil {
				return err
			}
		}
	}
	needed, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	for _, library := range needed {
		if err := t.library(library); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (t *treeCopy) library(soname string) error {
	const triplet = "x86_64-linux-gnu/"
	for _, dir := range []string{"lib/" + triplet, "usr/lib/" + triplet, "lib64/"} {
		if _, err := os.Lstat(filepath.Join(t.from, dir, soname)); err == nil {
			return t.file(dir + soname)
		}
	}
	return fmt.Errorf("library %s is in none of the packages", soname)
}
