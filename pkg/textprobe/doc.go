// SPDX-License-Identifier: Apache-2.0

// Package textprobe puts one BPF program on many addresses of kernel text, and takes
// it off again without making anybody wait.
//
// A kprobe of its own for each address costs a perf event each, and closing one waits
// for the kernel's RCU: half a minute for hundreds. A kprobe event of tracefs may have
// many addresses. One perf event opens all of them and one close disarms all, in a
// fraction of a second; what is left are definitions, which do nothing. A small
// process deletes them later (reaper/reaper.c): it is started before the first
// definition and waits for this process to close them or to die, so that they go
// however it ends.
//
// Definitions are in a group named nt_PID_START, after the process that made them and
// when it started, in clock ticks since boot. A group whose process is gone is stale;
// so it is told from that of another netns-trace at work.
//
// Where tracefs is not to be had each address becomes a perf event of its own.
package textprobe
