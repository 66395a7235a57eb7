// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	"github.com/netns-trace/netns-trace/pkg/budget"
)

const mib = 1 << 20

func memoryOf(t *testing.T, args ...string) *memory {
	t.Helper()
	o := new(monitorOptions)
	if err := newMonitorFlags(o).Parse(args); err != nil {
		t.Fatal(err)
	}
	m := new(memory)
	m.set(o)
	t.Cleanup(func() { new(memory).set(new(monitorOptions)) }) // the test has no limit
	return m
}

// The process gets its part, and the tables what is left, but never nothing.
func TestTableRoom(t *testing.T) {
	if got := memoryOf(t).tableRoom(); got != 0 {
		t.Errorf("without a limit the tables get %d bytes, want as many as they like", got)
	}
	for text, want := range map[string]int64{"64M": 16 * mib, "100M": 52 * mib, "256M": 208 * mib} {
		if got := memoryOf(t, "--max-memory="+text).tableRoom(); got != want {
			t.Errorf("of %q the tables get %d bytes, want %d", text, got, want)
		}
	}
}

// The limit is lowered below what is used: the tables are made smaller, and are so until
// they would fit again.
func TestMemoryIsKept(t *testing.T) {
	m := memoryOf(t, "--max-memory=100M")
	now := time.Unix(0, 0)
	look := func(times int) budget.Step {
		for range times {
			now = now.Add(measureEvery)
			m.policy.Observe(m.share(), now)
		}
		return m.policy.Step()
	}
	m.process, m.tables, m.full = 45*mib, 50*mib, 50*mib
	if step := look(100); step != budget.Everything {
		t.Errorf("within the limit: %s", step)
	}
	m.limit = 80 * mib
	if step := look(2); step != budget.Everything {
		t.Errorf("over it for a moment: %s", step)
	}
	if step := look(1); step != budget.SmallTables {
		t.Errorf("over it for long: %s", step)
	}
	if got, want := m.tableRoom(), int64(50*mib/2); got != want {
		t.Errorf("the tables get %d bytes, want %d: half of what they had", got, want)
	}
	m.tables = 8 * mib
	if step := look(100); step != budget.SmallTables {
		t.Errorf("with all tables it would be over the limit again, but now: %s", step)
	}
	m.process = 90 * mib
	if step := look(3); step != budget.NoLedgers {
		t.Errorf("the process has grown: %s", step)
	}
	if got := m.tableRoom(); got != leastTables {
		t.Errorf("the tables get %d bytes, want the least", got)
	}
	m.process, m.limit = 45*mib, 200*mib
	if step := look(200); step != budget.Everything {
		t.Errorf("there is room for all again: %s", step)
	}
}

// What leaves none of the classes that the user wants is no step.
func TestMemoryLeavesAClass(t *testing.T) {
	if m := memoryOf(t, "--max-memory=100M", "--only=refs"); len(m.policy.Steps) != 1 {
		t.Errorf("%v", m.policy.Steps)
	}
}
