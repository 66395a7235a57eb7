// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// target is the file that is written, and the ones before it.
type target struct {
	path     string
	maxFiles int
	file     *os.File
	ours     bool // a regular file, made here
	kept     []string
}

func newTarget(path string, maxFiles int) *target {
	return &target{path: path, maxFiles: maxFiles}
}

// stdout is the path that stands for standard output.
const stdout = "-"

// name is the path of a part: leak.ntrace, leak.1.ntrace, leak.2.ntrace.
func (t *target) name(part int) string {
	if part == 0 {
		return t.path
	}
	ext := filepath.Ext(t.path)
	return strings.TrimSuffix(t.path, ext) + "." + strconv.Itoa(part) + ext
}

// vacant reports with os.ErrExist that the path is taken.
func (t *target) vacant() error {
	st, err := os.Stat(t.path)
	switch {
	case t.path == stdout || err == nil && !st.Mode().IsRegular():
		return errors.New("a flight recorder needs a file to write: it may write several")
	case err == nil:
		return exists(t.path)
	case errors.Is(err, os.ErrNotExist):
		return nil
	}
	return fmt.Errorf("looking for %s: %w", t.path, err)
}

func exists(path string) error {
	return fmt.Errorf("a recording overwrites nothing: %s: %w", path, os.ErrExist)
}

// open opens a part. Only its first may be something else than a file made here.
func (t *target) open(ctx context.Context, part int) error {
	if t.path == stdout {
		t.file = os.Stdout
		return nil
	}
	path := t.name(part)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case err == nil:
		t.file, t.ours = f, true
		t.kept = append(t.kept, path)
		return t.removeOld()
	case !errors.Is(err, os.ErrExist):
		return fmt.Errorf("making the file of the recording: %w", err)
	}
	st, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("looking at %s: %w", path, err)
	}
	if st.Mode().IsRegular() || st.IsDir() || part > 0 {
		return exists(path)
	}
	if t.file, err = openDevice(ctx, path); err != nil {
		return err
	}
	t.kept = append(t.kept, path)
	return nil
}

// openDevice opens a FIFO or a device. A FIFO has to have a reader first.
func openDevice(ctx context.Context, path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.ENXIO) {
			return nil, fmt.Errorf("opening what is recorded to: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s is a FIFO that nobody reads: %w", path, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (t *target) removeOld() error {
	for t.maxFiles > 0 && len(t.kept) > t.maxFiles {
		if err := os.Remove(t.kept[0]); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing the oldest file of the recording: %w", err)
		}
		t.kept = t.kept[1:]
	}
	return nil
}

// Write implements io.Writer.
func (t *target) Write(b []byte) (int, error) { return t.file.Write(b) }

func (t *target) close() error {
	f := t.file
	t.file, t.ours = nil, false
	if f == nil || f == os.Stdout {
		return nil
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("closing the recording: %w", err)
	}
	return nil
}

// cut closes a file to which a write failed, and takes from its end what that write
// left behind; whole is how much of it is good, less than 0 when all is.
func (t *target) cut(whole int64) error {
	if t.ours && t.file != nil && whole >= 0 {
		if err := t.file.Truncate(whole); err != nil {
			return fmt.Errorf("removing an unfinished block: %w", err)
		}
	}
	return t.close()
}

// discard removes a file in which nothing was written.
func (t *target) discard() {
	if t.file == nil {
		return
	}
	ours, path := t.ours, t.file.Name()
	// Nothing was written to it: there is nothing that closing could lose.
	_ = t.close()
	if ours {
		os.Remove(path)
	}
}
