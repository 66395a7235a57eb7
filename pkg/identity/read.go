// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// maxProcFile bounds a file of /proc/PID: a cgroup file has one path of at
	// most 4096 bytes for each of at most a dozen version 1 controllers.
	maxProcFile = 64 << 10
	// maxFile bounds any other file read, /proc/stat (one number for each
	// interrupt line) and a runtime's JSON alike.
	maxFile = 1 << 20
)

// errNotUsable is why a file was not read: too large, or no regular file.
var errNotUsable = errors.New("not a regular file of acceptable size")

// open opens a file without waiting for anybody: a FIFO left under that name
// must not hang the namer.
func open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening: %w", err)
	}
	return f, nil
}

// readFile reads a regular file of at most maxFile bytes.
func readFile(path string) ([]byte, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, maxFile)
}

// readAll reads what f holds, an error when that is more than limit bytes:
// half a file could name the wrong thing.
func readAll(f *os.File, limit int) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("examining: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > int64(limit) {
		return nil, fmt.Errorf("reading %s: %w", f.Name(), errNotUsable)
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("reading: %w", err)
	}
	if len(data) > limit {
		return nil, fmt.Errorf("reading %s: %w", f.Name(), errNotUsable)
	}
	return data, nil
}

// readStart reads at most the first maxFile bytes of a file.
func readStart(path string) ([]byte, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("reading: %w", err)
	}
	return data, nil
}

// unchanged says whether a file is as it was at an earlier look, nil if there
// was none. Runtimes replace their files whole, so a change within one tick of
// the file system's clock still shows as another inode.
func unchanged(earlier, now os.FileInfo) bool {
	return earlier != nil && os.SameFile(earlier, now) &&
		earlier.Size() == now.Size() && earlier.ModTime().Equal(now.ModTime())
}

// eachName calls use with the names in directory path, at most limit of them
// and a few at a time, so that a directory of a million files costs no more
// memory than one of a thousand. A directory that cannot be read has no names.
func eachName(path string, limit int, use func(name string)) {
	dir, err := os.Open(path)
	if err != nil {
		return
	}
	defer dir.Close()
	for limit > 0 {
		names, err := dir.Readdirnames(min(1024, limit))
		for _, name := range names {
			use(name)
		}
		limit -= len(names)
		if err != nil {
			return
		}
	}
}
