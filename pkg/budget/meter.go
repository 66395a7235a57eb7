// SPDX-License-Identifier: Apache-2.0

package budget

import "time"

// Hits is what the kernel has counted of programs of one kind of attachment: how
// often they ran, and for how long by its own measure.
type Hits struct {
	Kind string // fentry, fexit, tp_btf, raw_tp, kprobe, kretprobe, iter
	Runs uint64
	Time time.Duration
}

// aside is what a hit costs beside the time that the kernel measures for it: getting
// into the program and out, less what reading the clock twice makes the measure too
// long. In instructions, as docs/performance.md measures them (an empty fentry costs
// 129 and is reported as 70; an empty kprobe 358 and 51), taken for a nanosecond each:
// processors that do fewer are rare, so what comes out is rather too much.
func aside(kind string) time.Duration {
	switch kind {
	case "fentry":
		return 59
	case "fexit":
		return 118
	case "tp_btf", "raw_tp":
		return 21
	case "kprobe":
		return 307
	case "kretprobe":
		return 600
	}
	return 0
}

// Meter adds up the CPU time of tracing: of the process all of it, of the programs in
// the kernel what it was in windows, and in between as in the last one. The kernel
// measures programs only while it is asked to, and that costs more than a small
// program does.
type Meter struct {
	programs float64 // share of a CPU, in the last window
	known    bool
	total    time.Duration // of the programs, until last
	last     time.Time
	user     time.Duration
	userAt   time.Time
}

// Window takes in what the programs did in a window of such a length.
func (m *Meter) Window(before, after []Hits, length time.Duration) {
	if length <= 0 {
		return
	}
	was := make(map[string]Hits, len(before))
	for _, h := range before {
		was[h.Kind] = h
	}
	var sum time.Duration
	for _, h := range after {
		b := was[h.Kind]
		if h.Runs < b.Runs || h.Time < b.Time { // a program went, and its counts with it
			continue
		}
		sum += h.Time - b.Time + time.Duration(h.Runs-b.Runs)*aside(h.Kind)
	}
	m.programs, m.known = float64(sum)/float64(length), true
}

// Programs is the time that the programs have taken until now; false if it was never
// measured.
func (m *Meter) Programs(now time.Time) (time.Duration, bool) {
	if !m.last.IsZero() {
		m.total += time.Duration(m.programs * float64(now.Sub(m.last)))
	}
	m.last = now
	return m.total, m.known
}

// Share is what tracing took since the last call, as a share of one CPU, given all
// that the process has taken so far; 0 at the first call.
func (m *Meter) Share(user time.Duration, now time.Time) float64 {
	share := 0.0
	if elapsed := now.Sub(m.userAt); !m.userAt.IsZero() && elapsed > 0 {
		share = float64(user-m.user)/float64(elapsed) + m.programs
	}
	m.user, m.userAt = user, now
	return share
}

// Skip leaves out what was taken until now: it was for starting, which is not what
// tracing costs. The programs are others than those of the last window, so until the
// next they count as nothing.
func (m *Meter) Skip(user time.Duration, now time.Time) {
	m.user, m.userAt = user, now
	m.programs, m.last = 0, now
}
