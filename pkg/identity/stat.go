// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// userHZ is the unit of times in /proc: USER_HZ is 100 on amd64 and arm64,
// whatever CONFIG_HZ is.
const userHZ = 100

var errMalformed = errors.New("not in the form proc(5) describes")

// procStat is the part of /proc/PID/stat that is read.
type procStat struct {
	comm    string
	threads int
	start   uint64 // ticks of 1/userHZ s since boot
}

// parseStat reads /proc/PID/stat. The comm in it may hold spaces, parentheses
// and line ends, so what follows it is found from the last parenthesis.
func parseStat(data []byte) (procStat, error) {
	first, last := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if first < 0 || last < first {
		return procStat{}, fmt.Errorf("stat: no command name: %w", errMalformed)
	}
	// The state, field 3 of proc(5), is fields[0].
	fields := strings.Fields(string(data[last+1:]))
	const threadsAt, startAt = 20 - 3, 22 - 3
	if len(fields) <= startAt {
		return procStat{}, fmt.Errorf("stat: %d fields after the command name: %w", len(fields), errMalformed)
	}
	threads, err := strconv.ParseUint(fields[threadsAt], 10, 31)
	if err != nil {
		return procStat{}, fmt.Errorf("stat: number of threads: %w", err)
	}
	start, err := strconv.ParseUint(fields[startAt], 10, 64)
	if err != nil {
		return procStat{}, fmt.Errorf("stat: start time: %w", err)
	}
	return procStat{comm: string(data[first+1 : last]), threads: int(threads), start: start}, nil
}

// parseTgid reads the thread group's ID from /proc/PID/status. No comm can
// imitate the line: the kernel escapes line ends in the Name line.
func parseTgid(data []byte) (int, error) {
	for line := range bytes.Lines(data) {
		value, ok := bytes.CutPrefix(line, []byte("Tgid:"))
		if !ok {
			continue
		}
		tgid, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 31)
		if err != nil {
			return 0, fmt.Errorf("status: Tgid: %w", err)
		}
		return int(tgid), nil
	}
	return 0, fmt.Errorf("status: no Tgid: %w", errMalformed)
}

// parseBootTime reads the time of boot, in seconds since 1970, from
// /proc/stat.
func parseBootTime(data []byte) (int64, error) {
	for line := range bytes.Lines(data) {
		value, ok := bytes.CutPrefix(line, []byte("btime "))
		if !ok {
			continue
		}
		boot, err := strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("btime: %w", err)
		}
		return boot, nil
	}
	return 0, fmt.Errorf("no btime: %w", errMalformed)
}

// bootClock turns start times into wall-clock time. It is safe for concurrent
// use.
type bootClock struct {
	path string // /proc/stat

	mu   sync.Mutex
	boot int64
	read time.Time
}

func newBootClock(proc string) *bootClock {
	return &bootClock{path: filepath.Join(proc, "stat")}
}

// at returns the time ticks after boot; the zero time if boot is not known.
func (c *bootClock) at(ticks uint64, now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	// The kernel derives the time of boot from the wall clock, so it moves
	// when that is set. /proc/stat is long on hosts with many processors.
	if c.read.IsZero() || now.Sub(c.read) >= staleAfter {
		c.read = now
		c.boot = 0
		if data, err := readFile(c.path); err == nil {
			c.boot, _ = parseBootTime(data)
		}
	}
	if c.boot <= 0 || ticks/userHZ > math.MaxInt32 {
		return time.Time{}
	}
	return time.Unix(c.boot+int64(ticks/userHZ), int64(ticks%userHZ)*int64(time.Second/userHZ))
}
