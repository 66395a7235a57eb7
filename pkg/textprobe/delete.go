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
)

// deleteEvents deletes those definitions of the kernel's list that chosen picks by
// their lines, one by one as the reaper does, and returns how many it deleted.
func deleteEvents(ctx context.Context, path string, chosen func(line string) bool) (int, error) {
	list, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("reading the kprobe events: %w", err)
	}
	defer list.Close()
	lines, err := definitions(list, chosen)
	if err != nil {
		return 0, fmt.Errorf("reading the kprobe events: %w", err)
	}
	events, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return 0, fmt.Errorf("deleting kprobe events: %w", err)
	}
	defer events.Close()
	deleted := 0
	for _, line := range lines {
		if err := ctx.Err(); err != nil {
			return deleted, err
		}
		_, err := io.WriteString(events, deletion(line))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a reaper was faster
		}
		if err != nil {
			return deleted, fmt.Errorf("deleting kprobe event %q: %w", line, err)
		}
		deleted++
	}
	return deleted, nil
}

// maxLines bounds the lines of the kernel's list that are looked at.
const maxLines = 1 << 20

// definitions returns the chosen lines of the kernel's list.
func definitions(list io.Reader, chosen func(line string) bool) ([]string, error) {
	var lines []string
	sc := bufio.NewScanner(list)
	for n := 0; n < maxLines && sc.Scan(); n++ {
		if len(sc.Bytes()) > 0 && chosen(sc.Text()) {
			lines = append(lines, sc.Text())
		}
	}
	return lines, sc.Err()
}

// deletion makes a line of the list one that deletes that probe alone (since 5.5). The
// address in it is not the real one but what the kernel shows in its place, and what
// it compares.
func deletion(line string) string { return "-" + line[1:] + "\n" }
