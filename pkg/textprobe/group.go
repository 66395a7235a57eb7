// SPDX-License-Identifier: Apache-2.0

package textprobe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// group is the name of a group of kprobe events: whose they are.
type group struct {
	pid   int
	start uint64 // clock ticks since boot
}

const groupPrefix = "nt_"

func (g group) String() string { return fmt.Sprintf("%s%d_%d", groupPrefix, g.pid, g.start) }

// parseGroup reads a name that String made.
func parseGroup(name string) (group, bool) {
	rest, ok := strings.CutPrefix(name, groupPrefix)
	if !ok {
		return group{}, false
	}
	pid, start, ok := strings.Cut(rest, "_")
	if !ok {
		return group{}, false
	}
	var g group
	var errPID, errStart error
	g.pid, errPID = strconv.Atoi(pid)
	g.start, errStart = strconv.ParseUint(start, 10, 64)
	// Only what is spelled as String spells it.
	return g, errPID == nil && errStart == nil && g.pid > 0 && g.String() == name
}

// ownGroup is the group of this process.
func ownGroup() (group, error) {
	pid := os.Getpid()
	start, err := startOf(pid)
	if err != nil {
		return group{}, err
	}
	return group{pid, start}, nil
}

// dead reports whether the process that made the group is gone.
func (g group) dead() bool {
	start, err := startOf(g.pid)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	return start != g.start
}

// startOf returns when a process started, in clock ticks since boot.
func startOf(pid int) (uint64, error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	start, err := parseStart(string(text))
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", path, err)
	}
	return start, nil
}

var errNoStart = errors.New("no start time")

// parseStart takes the 22nd field of a line of /proc/PID/stat. The second is a name in
// parentheses, which may have spaces and parentheses.
func parseStart(stat string) (uint64, error) {
	const startTime = 22 - 3 // behind the name and its parenthesis
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) <= startTime {
		return 0, errNoStart
	}
	return strconv.ParseUint(fields[startTime], 10, 64)
}
