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
}

var workloads = []workload{
	{"udp", "one UDP packet over veth, sent and received", true},
	{"getppid", "a system call that nobody traces", true},
	{"clone", "starting a thread", true},
	{"exit", "the end of a thread", false},
	{"setns", "setns(2) there and back, in a process of one thread", true},
	{"setns-threaded", "setns(2) there and back, in a process of two threads", false},
	{"dst", "connect(2) that allocates a route", true},
	{"dst-life", "the same, and the route before it freed", false},
	{"life", "a network namespace and a veth pair, made and deleted", false},
}

// shortWorkloads are those of -short.
var shortWorkloads = []string{"udp", "getppid", "clone"}
