// SPDX-License-Identifier: Apache-2.0

package userstack

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

var errNotRegular = errors.New("not a regular file")

// fileKey identifies the content of a file.
type fileKey struct {
	dev, inode uint64
	size       int64
	mtime      int64 // ns
}

// openMapped opens the file behind a mapping.
//
// /proc/PID/map_files leads to the very file, deleted or not, in whatever mount
// namespace. It needs CAP_CHECKPOINT_RESTORE (5.9) or CAP_SYS_ADMIN; else the
// path is looked up below the process's own root, unless it was deleted: then
// another file may have its name. Device and inode are not compared there:
// overlayfs shows other numbers in maps than in stat.
func openMapped(tgid int, m *mapping) (*os.File, fileKey, error) {
	path := fmt.Sprintf("/proc/%d/map_files/%x-%x", tgid, m.start, m.end)
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		if fd, err = openBelowRoot(tgid, m.path); err != nil {
			return nil, fileKey{}, err
		}
	}
	defer unix.Close(fd)
	return reopenRegular(fd)
}

// openBelowRoot resolves path in the process's mount namespace and root. The
// path in maps has no symbolic links; one that is there now was put there
// later, perhaps to lead out of the container.
func openBelowRoot(tgid int, path string) (int, error) {
	if !strings.HasPrefix(path, "/") || strings.HasSuffix(path, " (deleted)") {
		return -1, fmt.Errorf("%q cannot be opened by name", path)
	}
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", tgid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening root of process %d: %w", tgid, err)
	}
	defer unix.Close(root)
	// seq_path() escapes only the newline in a path of maps.
	name := strings.TrimLeft(strings.ReplaceAll(path, `\012`, "\n"), "/")
	fd, err := unix.Openat2(root, name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return -1, fmt.Errorf("opening %q below root of process %d: %w", path, tgid, err)
	}
	return fd, nil
}

// reopenRegular opens for reading what an O_PATH descriptor stands for, if it
// is a regular file. Opening anything else could block (FIFO) or act (device).
func reopenRegular(fd int) (*os.File, fileKey, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fileKey{}, fmt.Errorf("stat of mapped file: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fileKey{}, errNotRegular
	}
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fileKey{}, fmt.Errorf("opening mapped file: %w", err)
	}
	key := fileKey{dev: st.Dev, inode: st.Ino, size: st.Size, mtime: st.Mtim.Nano()}
	return f, key, nil
}
