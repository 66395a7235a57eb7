// SPDX-License-Identifier: Apache-2.0

package textprobe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/kernel"
)

// Stale lists the groups of kprobe events, made by netns-trace, whose process is gone.
// A reaper may be at work on them. They do nothing but take memory. Returns an error
// when tracefs cannot be looked at.
func Stale() ([]string, error) {
	tracefs, err := kernel.FindTracefs()
	if err != nil {
		return nil, fmt.Errorf("looking for stale kprobe events: %w", err)
	}
	names, err := stale(tracefs.Path)
	if err != nil {
		return nil, fmt.Errorf("looking for stale kprobe events: %w", err)
	}
	return names, nil
}

func stale(tracefs string) ([]string, error) {
	// In other namespaces pids and start times are not those in the names, and a
	// group at work would look stale.
	if ours, err := kernel.InInitProcessNamespaces(); err != nil || !ours {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(tracefs, "events"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if g, ok := parseGroup(e.Name()); ok && g.dead() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Clean deletes the groups that Stale lists, which takes about 20 ms a probe, and
// returns how many probes it deleted.
func Clean(ctx context.Context) (int, error) {
	tracefs, err := kernel.FindTracefs()
	if err != nil {
		return 0, fmt.Errorf("deleting stale kprobe events: %w", err)
	}
	names, err := stale(tracefs.Path)
	if err != nil || len(names) == 0 {
		return 0, err
	}
	deleted, err := clean(ctx, filepath.Join(tracefs.Path, "kprobe_events"), names)
	if err != nil {
		return deleted, fmt.Errorf("deleting stale kprobe events: %w", err)
	}
	return deleted, nil
}

// clean deletes all probes of these groups, one by one as the reaper does.
func clean(ctx context.Context, path string, groups []string) (int, error) {
	list, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer list.Close()
	lines, err := linesOf(list, groups)
	if err != nil {
		return 0, err
	}
	events, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return 0, err
	}
	defer events.Close()
	deleted := 0
	for _, line := range lines {
		if err := ctx.Err(); err != nil {
			return deleted, err
		}
		_, err := io.WriteString(events, deletion(line))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a reaper was faster
			return deleted, err
		}
		if err == nil {
			deleted++
		}
	}
	return deleted, nil
}

// maxLines bounds the lines of the kernel's list that are looked at.
const maxLines = 1 << 20

// linesOf returns the definitions of these groups from the kernel's list.
func linesOf(list io.Reader, groups []string) ([]string, error) {
	var lines []string
	sc := bufio.NewScanner(list)
	for n := 0; n < maxLines && sc.Scan(); n++ {
		for _, g := range groups {
			if strings.HasPrefix(sc.Text(), "p:"+g+"/") {
				lines = append(lines, sc.Text())
			}
		}
	}
	return lines, sc.Err()
}

// deletion makes a line of the list one that deletes that probe alone. The address in
// it is not the real one but what the kernel shows in its place: it compares that.
func deletion(line string) string { return "-" + line[1:] + "\n" }
