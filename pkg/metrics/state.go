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
)

// stateCollector tells the last State that was set.
type stateCollector struct {
	last                                       atomic.Pointer[State]
	descRecords, descLost, descProbes, descCPU *prometheus.Desc
}

func newStateCollector() *stateCollector {
	c := &stateCollector{
		descRecords: desc("records_total", "Records read from the kernel."),
		descLost:    desc("lost_total", "What was lost, of records, entries of tables, stacks and hits, by cause.", "class", "cause"),
		descProbes:  desc("probes", "Things that are seen, by way of attaching; none: cannot be seen; module: waits for a kernel module.", "class", "way"),
		descCPU:     desc("cpu_seconds_total", "CPU time that this program takes, by part; that of its kernel programs is an estimate.", "part"),
	}
	c.set(State{})
	return c
}

func (c *stateCollector) set(s State) { c.last.Store(&s) }

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.descRecords, c.descLost, c.descProbes, c.descCPU} {
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
	for key, n := range s.Probes {
		out <- prometheus.MustNewConstMetric(c.descProbes, prometheus.GaugeValue, float64(n), key.Class, key.Way)
	}
}
