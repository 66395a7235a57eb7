// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/seccomp"
)

// keptCapabilities are those that tracing needs once everything is attached.
func (t *tracing) keptCapabilities() []string {
	kept := []string{
		"CAP_BPF",     // reading maps, where unprivileged BPF is disabled; programs of modules that are loaded later
		"CAP_PERFMON", // attaching those
		"CAP_SYSLOG",  // their symbols
		// Fentry on a module's function needs the module's BTF, which the kernel gives
		// by id to CAP_SYS_ADMIN only; where kernel.perf_event_paranoid is 3, as Debian
		// has it, a kprobe needs it too. The kernel measures programs for who has it.
		"CAP_SYS_ADMIN",
		"CAP_SYS_RAWIO",       // their code, in /proc/kcore
		"CAP_SYS_PTRACE",      // namespaces and files of other users' processes
		"CAP_DAC_READ_SEARCH", // records of container runtimes
	}
	if t.recorder != nil {
		// Files that are begun later may be in a directory of another user.
		kept = append(kept, "CAP_DAC_OVERRIDE")
		if len(t.options.record.command) > 0 {
			kept = append(kept, "CAP_KILL") // the command may have become another user's
		}
	}
	return kept
}

// giveUp gives up what is no longer needed. That it cannot be given up is no reason
// not to trace.
func (t *tracing) giveUp() {
	if t.service.restricted() {
		return // by an earlier tracing of this process
	}
	if err := kernel.KeepCapabilities(t.keptCapabilities()...); err != nil {
		t.say.printf("note: %v\n", err)
	}
	t.service.restrict()
}

// restrict leaves the service the system calls that it goes on to make. Without a
// filter it runs as well.
func (s *service) restrict() {
	if s == nil {
		return
	}
	s.few = true
	if err := seccomp.Install(seccomp.Mode(s.options.seccomp)); err != nil {
		s.log.Warn("all system calls stay allowed: " + err.Error())
	}
}

// restricted reports whether that was done before.
func (s *service) restricted() bool { return s != nil && s.few }
