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
	runs int
}

var workloads = []workload{
	{"udp", "one UDP packet over veth, sent and received", true, 1},
	{"getppid", "a system call that nobody traces", true, 1},
	// In about one process of ten each clone takes 123 instructions more.
	{"clone", "starting a thread", true, 5},
	{"exit", "the end of a thread", false, 1},
	{"setns", "setns(2) there and back, in a process of one thread", true, 1},
	{"setns-threaded", "setns(2) there and back, in a process of two threads", false, 1},
	{"dst", "connect(2) that allocates a route", true, 1},
	{"dst-life", "the same, and the route before it freed", false, 1},
	{"life", "a network namespace and a veth pair, made and deleted", false, 1},
	{"idle", "a second in which nothing happens", false, 1},
}

// shortWorkloads are those of -short.
var shortWorkloads = []string{"udp", "getppid", "clone"}
