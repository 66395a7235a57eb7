// SPDX-License-Identifier: Apache-2.0

package textprobe

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Missed returns how many hits the kernel did not hand to any program because they were
// in the handling of another probe: an interrupt came while the probe was a jump. The
// statistics of the program do not have them. The second result is false where the kernel
// does not tell: there are no events in tracefs. It may be called while others attach.
func (s *Set) Missed() (uint64, bool, error) {
	if s.profile == "" {
		return 0, false, nil
	}
	f, err := os.Open(s.profile)
	if err != nil {
		return 0, false, fmt.Errorf("asking how many hits were missed: %w", err)
	}
	defer f.Close()
	n, err := countMissed(f, s.events)
	if err != nil {
		return 0, false, fmt.Errorf("reading %s: %w", s.profile, err)
	}
	return n, true, nil
}

func profileIn(tracefs string) string { return filepath.Join(tracefs, "kprobe_profile") }

// countMissed sums the third column for the events whose names begin with prefix: a line
// for each address, without the group.
func countMissed(profile io.Reader, prefix string) (uint64, error) {
	var sum uint64
	sc := bufio.NewScanner(profile)
	for sc.Scan() {
		//   s783_A_1                                             42               0
		fields := strings.Fields(sc.Text())
		if len(fields) != 3 || !strings.HasPrefix(fields[0], prefix) {
			continue
		}
		n, err := strconv.ParseUint(fields[2], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("in the line %q: %w", sc.Text(), err)
		}
		sum += n
	}
	return sum, sc.Err()
}
