// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/netns-trace/netns-trace/pkg/kernel"

// keptCapabilities are those that tracing needs once everything is attached.
func (t *tracing) keptCapabilities() []string {
	kept := []string{
		"CAP_BPF",             // reading maps, where unprivileged BPF is disabled; programs of modules that are loaded later
		"CAP_PERFMON",         // attaching those
		"CAP_SYSLOG",          // their symbols
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
	if t.service != nil && t.service.needsAdmin() {
		kept = append(kept, "CAP_SYS_ADMIN")
	}
	return kept
}

// giveUp gives up what is no longer needed. That it cannot be given up is no reason
// not to trace.
func (t *tracing) giveUp() {
	if err := kernel.KeepCapabilities(t.keptCapabilities()...); err != nil {
		t.say.printf("note: %v\n", err)
	}
}

// needsAdmin reports whether the service needs CAP_SYS_ADMIN to its end: the kernel
// measures programs only for who has it, and a budget that is exceeded begins tracing
// anew, which asks whether another netns-trace counts references.
func (s *service) needsAdmin() bool { return s.options.maxCPU > 0 }
