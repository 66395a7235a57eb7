// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"io"
	"regexp"
	"strings"
	"sync"
)

const (
	consoleLimit = 1 << 20 // bytes kept in memory
	tailLines    = 60
)

// console keeps the last part of what the kernel prints.
type console struct {
	mu   sync.Mutex
	text []byte
	log  io.Writer // all of it, or nil
}

// Write takes more of the text. It never fails: a full disk must not kill a guest.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range p {
		if b != '\r' {
			c.text = append(c.text, b)
		}
	}
	// Twice the limit before it is cut, so that cutting is rare.
	if len(c.text) > 2*consoleLimit {
		c.text = append(c.text[:0], c.text[len(c.text)-consoleLimit:]...)
	}
	if c.log != nil {
		_, _ = c.log.Write(p)
	}
	return len(p), nil
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.text[max(0, len(c.text)-consoleLimit):])
}

// tail returns the last lines.
func tail(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}

// The words with which the kernel dies, and those with which it complains and goes
// on. Both may follow a time stamp. Words for death are in order of what tells most.
var (
	deaths = []*regexp.Regexp{
		regexp.MustCompile(`(?m)^(?:\[[ \d.]+\] ?)?((?:BUG: |Oops: |general protection fault|kernel BUG at|divide error).*)$`),
		regexp.MustCompile(`(?m)^(?:\[[ \d.]+\] ?)?(Kernel panic - not syncing.*)$`),
		regexp.MustCompile(`(?m)^(lab guest: .*)$`),
	}
	complaint = regexp.MustCompile(`(?m)^(?:\[[ \d.]+\] ?)?((?:WARNING: |BUG: |Oops|Kernel panic|general protection fault|` +
		`kernel BUG at|UBSAN: |INFO: task |INFO: rcu|rcu: INFO: |watchdog: BUG).*)$`)
)

// causeOfDeath finds in a console's text why the kernel died, or returns "".
func causeOfDeath(text string) string {
	if !strings.Contains(text, "Kernel panic") && !strings.Contains(text, "lab guest: ") {
		return ""
	}
	for _, re := range deaths {
		if found := re.FindAllStringSubmatch(text, -1); found != nil {
			return found[len(found)-1][1]
		}
	}
	return ""
}

// complaints returns the lines of a console's text in which the kernel complains.
func complaints(text string) []string {
	var lines []string
	for _, m := range complaint.FindAllStringSubmatch(text, -1) {
		lines = append(lines, m[1])
	}
	return lines
}
