// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	mountinfoPath           = "/proc/self/mountinfo"
	kprobesEnabledPath      = "/sys/kernel/debug/kprobes/enabled"
	kprobesOptimizationPath = "/proc/sys/debug/kprobes-optimization"
)

// Tracefs is where the tracing file system is and whether kprobe events can be
// defined in it.
type Tracefs struct {
	Path string `json:"path"`
	// KprobeEvents is true when kprobe_events is there and this process may
	// read and write it.
	KprobeEvents bool `json:"kprobe_events"`
	// Problem says why not, when KprobeEvents is false.
	Problem string `json:"problem,omitempty"`
}

// String returns the path and the problem, if there is one.
func (t Tracefs) String() string {
	if t.Problem != "" {
		return t.Path + ", kprobe_events not usable: " + t.Problem
	}
	return t.Path
}

var errNoTracefs = errors.New("tracefs is not mounted (mount -t tracefs tracefs /sys/kernel/tracing)")

// FindTracefs looks for the tracing file system among the mounts. Returns an error
// when it is not mounted.
func FindTracefs() (Tracefs, error) {
	f, err := os.Open(mountinfoPath)
	if err != nil {
		return Tracefs{}, err
	}
	defer f.Close()
	path, err := findTracefs(f)
	if err != nil {
		return Tracefs{}, err
	}
	t := Tracefs{Path: path}
	if err := kprobeEventsAccess(filepath.Join(path, "kprobe_events")); err != nil {
		t.Problem = err.Error()
	} else {
		t.KprobeEvents = true
	}
	return t, nil
}

// kprobeEventsAccess opens for reading only: an open with O_TRUNC would delete
// every probe on the host. The open is what lockdown refuses (since 5.4);
// access(2) does not ask lockdown.
func kprobeEventsAccess(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Access(path, unix.W_OK); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// findTracefs returns the mount point of tracefs from the text of
// /proc/self/mountinfo, preferring its own place to the automount under
// debugfs.
func findTracefs(r io.Reader) (string, error) {
	var found string
	sc := bufio.NewScanner(io.LimitReader(r, 16<<20))
	sc.Buffer(nil, maxSmallFile)
	for sc.Scan() {
		// 36 35 0:12 / /sys/kernel/tracing rw,nosuid shared:7 - tracefs tracefs rw
		before, after, ok := strings.Cut(sc.Text(), " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 || !strings.HasPrefix(after, "tracefs ") || fields[3] != "/" {
			continue
		}
		path := UnescapeMount(fields[4])
		if path == "/sys/kernel/tracing" {
			return path, nil
		}
		if found == "" {
			found = path
		}
	}
	if err := sc.Err(); err != nil {
		return "", fmt.Errorf("reading %s: %w", mountinfoPath, err)
	}
	if found == "" {
		return "", errNoTracefs
	}
	return found, nil
}

// UnescapeMount undoes what the kernel does to spaces, tabs, line ends and backslashes
// in a path of /proc/PID/mountinfo: a backslash and three octal digits. Source:
// mangle_path().
func UnescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
