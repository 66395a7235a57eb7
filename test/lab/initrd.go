// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// mergedDirs are links in the guest, so that every program has one place and all
// its customary paths.
var mergedDirs = [...]struct{ dir, target string }{
	{"bin", "usr/bin"},
	{"sbin", "usr/bin"},
	{"usr/sbin", "usr/bin"},
	{"lib", "usr/lib"},
	{"lib64", "usr/lib64"},
}

// guestPath cleans a path of the guest's tree and follows mergedDirs. The result is
// relative to the root.
func guestPath(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	for _, m := range mergedDirs {
		if rest, ok := strings.CutPrefix(name, m.dir+"/"); ok {
			return m.target + "/" + rest
		}
	}
	return name
}

// Modes of cpio entries, as in stat(2).
const (
	cpioDir     = 0o040000
	cpioFile    = 0o100000
	cpioSymlink = 0o120000
	cpioChar    = 0o020000
)

// initrd collects the files of an initramfs. A path added twice keeps the last.
type initrd struct{ entries map[string]initrdEntry }

type initrdEntry struct {
	mode         uint32
	major, minor uint32 // of a device
	data         []byte // contents, or the target of a link
	host         string // the file that holds the contents, instead of data
}

// newInitrd returns a tree with the directories, links and devices that every
// guest needs before it can make its own.
func newInitrd() *initrd {
	r := &initrd{entries: map[string]initrdEntry{}}
	for _, dir := range []string{
		"dev", "proc", "sys", "run", "root", "mnt", "etc", "var", "usr/bin", "usr/lib", "usr/lib64", "usr/local/bin",
	} {
		r.dir(dir)
	}
	r.add("tmp", initrdEntry{mode: cpioDir | 0o1777})
	for _, m := range mergedDirs {
		// Written as they are: guestPath would follow them.
		target := strings.Repeat("../", strings.Count(m.dir, "/")) + m.target
		r.entries[m.dir] = initrdEntry{mode: cpioSymlink | 0o777, data: []byte(target)}
	}
	// The kernel opens /dev/console for init before anything is mounted.
	r.add("dev/console", initrdEntry{mode: cpioChar | 0o600, major: 5, minor: 1})
	r.add("dev/null", initrdEntry{mode: cpioChar | 0o666, major: 1, minor: 3})
	return r
}

// add puts an entry into the tree, with the directories above it.
func (r *initrd) add(name string, entry initrdEntry) {
	name = guestPath(name)
	if dir := path.Dir(name); dir != "." {
		r.dir(dir)
	}
	r.entries[name] = entry
}

func (r *initrd) dir(name string) {
	for name = guestPath(name); name != "." && name != ""; name = path.Dir(name) {
		if _, ok := r.entries[name]; !ok {
			r.entries[name] = initrdEntry{mode: cpioDir | 0o755}
		}
	}
}

func (r *initrd) bytes(name string, data []byte) {
	r.add(name, initrdEntry{mode: cpioFile | 0o644, data: data})
}

func (r *initrd) symlink(name, target string) {
	r.add(name, initrdEntry{mode: cpioSymlink | 0o777, data: []byte(target)})
}

// file adds a file of the host, or a directory with all that is in it. Links inside
// a directory stay links; host itself may be one.
func (r *initrd) file(name, host string) error {
	host, err := filepath.EvalSymlinks(host)
	if err != nil {
		return fmt.Errorf("adding %s to the guest: %w", name, err)
	}
	err = filepath.WalkDir(host, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(host, file)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		target := path.Join(name, filepath.ToSlash(rel))
		perm := uint32(info.Mode().Perm())
		switch info.Mode().Type() {
		case 0:
			r.add(target, initrdEntry{mode: cpioFile | perm, host: file})
		case fs.ModeDir:
			r.dir(target)
		case fs.ModeSymlink:
			link, err := os.Readlink(file)
			if err != nil {
				return err
			}
			r.symlink(target, link)
		}
		return nil // sockets and devices of the host are of no use in the guest
	})
	if err != nil {
		return fmt.Errorf("adding %s to the guest: %w", name, err)
	}
	return nil
}

// write writes the tree as an uncompressed cpio archive in the "newc" format. The
// same tree makes the same bytes.
func (r *initrd) write(w io.Writer) error {
	out := &cpioWriter{w: bufio.NewWriterSize(w, 1<<20)}
	for _, name := range slices.Sorted(maps.Keys(r.entries)) {
		if err := out.entry(name, r.entries[name]); err != nil {
			return fmt.Errorf("writing the initramfs: %s: %w", name, err)
		}
	}
	if err := out.entry("TRAILER!!!", initrdEntry{}); err != nil {
		return fmt.Errorf("writing the initramfs: %w", err)
	}
	if err := out.w.Flush(); err != nil {
		return fmt.Errorf("writing the initramfs: %w", err)
	}
	return nil
}

type cpioWriter struct {
	w     *bufio.Writer
	inode uint32
}

func (c *cpioWriter) entry(name string, e initrdEntry) error {
	var data io.Reader = strings.NewReader(string(e.data))
	size := int64(len(e.data))
	if e.host != "" {
		f, err := os.Open(e.host)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		data, size = f, info.Size()
	}
	if size > math.MaxUint32 {
		return fmt.Errorf("%d bytes do not fit the format", size)
	}
	c.inode++
	links := 1
	if e.mode&0o170000 == cpioDir {
		links = 2
	}
	// ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor
	// namesize check
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		c.inode, e.mode, 0, 0, links, 0, size, 0, 0, e.major, e.minor, len(name)+1, 0)
	if _, err := c.w.WriteString(header + name + "\x00" + padding(int64(len(header)+len(name)+1))); err != nil {
		return err
	}
	// A file that grows or shrinks while it is read must not shift what follows.
	n, err := io.Copy(c.w, io.LimitReader(data, size))
	if err != nil {
		return err
	}
	if n != size {
		return fmt.Errorf("read %d of %d bytes: %w", n, size, io.ErrUnexpectedEOF)
	}
	_, err = c.w.WriteString(padding(size))
	return err
}

// padding is what is missing to a multiple of four.
func padding(n int64) string { return "\x00\x00\x00"[:(4-n%4)%4] }
