// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/netns-trace/netns-trace/pkg/budget"
)

const (
	// processRoom is what this process needs beside the kernel's tables: 42 to 47 MiB
	// resident in the lab, the program itself included.
	processRoom = 48 << 20
	// notHeap is the part of it that is not the garbage collector's: the program, the
	// runtime, and the ring buffer, which is mapped in.
	notHeap = 24 << 20
	// leastHeap is what the collector may use in any case: with less it does nothing
	// but collect.
	leastHeap = 24 << 20
	// calmMemory is the share of the limit that is aimed at.
	calmMemory = 0.9
	// leastTables is what the tables get however much the process takes.
	leastTables = 2 << 20
)

// memory keeps the service and its tables in the kernel within --max-memory.
type memory struct {
	limit    int64
	policy   budget.Policy // of shares of the limit
	process  int64         // bytes, resident, when last looked at
	tables   int64         // bytes, of the kernel's tables
	full     int64         // what they were when nothing was left out
	exceeded bool          // it was said
}

func (m *memory) set(o *monitorOptions) {
	m.limit = int64(o.maxMemory)
	m.policy.Limit, m.policy.Calm = 0, calmMemory
	if m.limit > 0 {
		m.policy.Limit = 1
	}
	m.policy.Steps = []budget.Step{budget.SmallTables}
	if o.live.without(budget.NoLedgers) > 0 {
		m.policy.Steps = append(m.policy.Steps, budget.NoLedgers)
	}
	m.limitHeap(max(m.tables, m.tableRoom()))
}

// tableRoom is how much the kernel's tables may take; 0: as much as they like.
func (m *memory) tableRoom() int64 {
	if m.limit == 0 {
		return 0
	}
	if m.policy.Step() == budget.Everything {
		return max(m.limit-processRoom, m.limit/4)
	}
	return max(leastTables, min(int64(calmMemory*float64(m.limit))-m.process, m.full/2))
}

func (m *memory) limitHeap(tables int64) {
	heap := int64(math.MaxInt64)
	if m.limit > 0 {
		heap = max(m.limit-tables-notHeap, leastHeap)
	}
	debug.SetMemoryLimit(heap)
}

// ready is when everything is attached: tables have their size, and keep it.
func (m *memory) ready(t *tracing) {
	m.tables = int64(t.session.TableBytes())
	if m.policy.Step() == budget.Everything {
		m.full = m.tables
	}
	m.process = residentBytes()
	m.limitHeap(m.tables)
}

// observe looks at what is used, and reports whether something else is to be left out.
func (m *memory) observe(now time.Time) bool {
	if m.process = residentBytes(); m.limit > 0 && m.used() > m.limit {
		debug.FreeOSMemory() // garbage is no reason to leave out something
		m.process = residentBytes()
	}
	return m.policy.Observe(m.share(), now)
}

// used is what the process and the kernel's tables take.
func (m *memory) used() int64 { return m.process + m.tables }

// share is what is used of the limit. While something is left out and that is enough,
// it is what would be used with it: whether that may come back.
func (m *memory) share() float64 {
	if m.limit == 0 {
		return 0
	}
	used := float64(m.used()) / float64(m.limit)
	if m.policy.Step() == budget.Everything || used > 1 {
		return used
	}
	return min(1, float64(m.process+m.full)/float64(m.limit))
}

// residentBytes is how much memory this process has, 0 if the kernel does not tell.
func residentBytes() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
