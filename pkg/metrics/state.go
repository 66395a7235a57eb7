// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// State is how the service is at one moment.
type State struct {
	Records uint64             // read from the kernel since the start
	Lost    map[Lost]uint64    // since the start
	Probes  map[Probe]int      // how many things are seen in which way
	CPU     map[string]float64 // seconds since the start, by part
	Share   float64            // of one CPU, in the last measurement
	Limit   float64            // of it; 0: none
	Step    int                // of the budget: how much is left out
	Memory  map[string]float64 // bytes, by part
	// MemoryLimit is how many bytes all parts may take; 0: no limit. MemoryStep is how
	// much is left out to stay within it.
	MemoryLimit float64
	MemoryStep  int
	Over        map[string]bool // what is over its limit although nothing more can be left out: cpu, memory
}

// Lost is what was lost: whose, and why.
type Lost struct{ Class, Cause string }

// Probe is a way of seeing things; Way is "none" for what cannot be seen, "module"
// for what waits for a kernel module.
type Probe struct{ Class, Way string }

// The parts of what the service costs.
const (
	PartUserSpace = "user_space"
	PartPrograms  = "kernel_programs"
	PartProcess   = "process"
	PartTables    = "kernel_tables"
)

// stateCollector tells the last State that was set.
type stateCollector struct {
	last                                       atomic.Pointer[State]
	descRecords, descLost, descProbes, descCPU *prometheus.Desc
	descShare, descLimit, descStep, descOver   *prometheus.Desc
	descMemory, descMemoryLimit, descMemStep   *prometheus.Desc
}

func newStateCollector() *stateCollector {
	c := &stateCollector{
		descRecords:     desc("records_total", "Records read from the kernel."),
		descLost:        desc("lost_total", "What was lost, of records, entries of tables, stacks and hits, by cause.", "class", "cause"),
		descProbes:      desc("probes", "Things that are seen, by way of attaching; none: cannot be seen; module: waits for a kernel module.", "class", "way"),
		descCPU:         desc("cpu_seconds_total", "CPU time that this program takes, by part; that of its kernel programs is an estimate.", "part"),
		descShare:       desc("cpu_ratio", "What this program took of one CPU, its kernel programs included, when it was last measured."),
		descLimit:       desc("cpu_limit_ratio", "How much it may take; 0: there is no limit."),
		descStep:        desc("budget_step", "What is left out to stay below the limit. 0: nothing, 1: stacks, 2: also most objects that hold devices, 3: also csum and hot sites, 4: references are followed by search only, 5: also refs and dst."),
		descMemory:      desc("memory_bytes", "Memory that this program takes, by part: what is resident of the process, and the tables in the kernel.", "part"),
		descMemoryLimit: desc("memory_limit_bytes", "How much all parts may take; 0: there is no limit."),
		descMemStep:     desc("budget_memory_step", "What is left out to stay below the limit of memory. 0: nothing, 1: half or more of the room in the kernel's tables, 2: also csum, refs and dst."),
		descOver:        desc("budget_exceeded", "1 for what is over its limit although nothing more can be left out.", "resource"),
	}
	c.set(State{})
	return c
}

func (c *stateCollector) set(s State) { c.last.Store(&s) }

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.descRecords, c.descLost, c.descProbes, c.descCPU, c.descShare, c.descLimit, c.descStep, c.descOver, c.descMemory, c.descMemoryLimit, c.descMemStep} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(out chan<- prometheus.Metric) {
	s := c.last.Load()
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	counter(c.descRecords, float64(s.Records))
	for key, n := range s.Lost {
		counter(c.descLost, float64(n), key.Class, key.Cause)
	}
	for part, seconds := range s.CPU {
		counter(c.descCPU, seconds, part)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for key, n := range s.Probes {
		gauge(c.descProbes, float64(n), key.Class, key.Way)
	}
	gauge(c.descShare, s.Share)
	gauge(c.descLimit, s.Limit)
	gauge(c.descStep, float64(s.Step))
	for part, bytes := range s.Memory {
		gauge(c.descMemory, bytes, part)
	}
	gauge(c.descMemoryLimit, s.MemoryLimit)
	gauge(c.descMemStep, float64(s.MemoryStep))
	for resource, over := range s.Over {
		v := 0.0
		if over {
			v = 1
		}
		gauge(c.descOver, v, resource)
	}
}
