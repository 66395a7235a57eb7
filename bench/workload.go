// SPDX-License-Identifier: Apache-2.0

package main

// workload is something that a host does and that tracing makes dearer. It is done by
// the program in ops/, which has the same names.
type workload struct {
	name string
	what string // one operation
	// exact says that it is the same number of instructions each time, so that a
	// twentieth of a percent more means something. The others leave work to RCU and
	// worker threads.
	exact bool
	// runs is how many processes do it, one after the other; the median of them counts.
	// 0 means 1.
	runs int
	// still says that the tracer's user space is stopped meanwhile. A life sleeps for
	// long; how often the tracer wakes up in that time is what idle measures.
	still bool
	// batched says that some windows have work in them that others left over, and that
	// it depends on the layout of per-CPU memory, which any BPF table changes: by 75,000
	// instructions. Not the medians count, which are now with it, now without, but the
	// lower quartile of the windows, of the process, and so of the layout, that has the
	// lowest.
	batched bool
}

// quantile is which of the windows counts.
func (w workload) quantile() float64 {
	if w.batched {
		return 0.25
	}
	return 0.5
}

var workloads = []workload{
	{name: "udp", what: "one UDP packet over veth, sent and received", exact: true},
	{name: "getppid", what: "a system call that nobody traces", exact: true},
	// In about one process of ten each clone takes 123 instructions more.
	{name: "clone", what: "starting a thread", exact: true, runs: 5},
	{name: "exit", what: "the end of a thread", runs: 3},
	{name: "setns", what: "setns(2) there and back, in a process of one thread", exact: true},
	{name: "setns-threaded", what: "setns(2) there and back, in a process of two threads"},
	{name: "dst", what: "connect(2) that allocates a route", exact: true},
	{name: "dst-life", what: "the same, and the route before it freed"},
	{name: "reference", what: "a device's reference, taken and given back", exact: true},
	{name: "life", what: "a network namespace and a veth pair, made and deleted", still: true, batched: true, runs: 24},
	{name: "idle", what: "a second in which nothing happens"},
}

// shortWorkloads are those of -short.
var shortWorkloads = []string{"udp", "getppid", "clone"}
