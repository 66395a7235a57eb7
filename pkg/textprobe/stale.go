// SPDX-License-Identifier: Apache-2.0

package textprobe

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	deleted, err := deleteEvents(ctx, filepath.Join(tracefs.Path, "kprobe_events"), func(line string) bool {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "p:"), "/")
		return slices.Contains(names, name)
	})
	if err != nil {
		return deleted, fmt.Errorf("deleting stale kprobe events: %w", err)
	}
	return deleted, nil
}
