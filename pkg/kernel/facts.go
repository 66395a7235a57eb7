// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"fmt"
	"reflect"
	"strings"
)

// Facts is what netns-trace doctor says about the running kernel and about what
// this process may do on it. The JSON keys are stable.
type Facts struct {
	Release Fact[string] `json:"release"`
	Machine Fact[string] `json:"machine"`
	BootID  Fact[string] `json:"boot_id"`
	// PossibleCPUs is the number of CPUs per-CPU data exists for.
	PossibleCPUs Fact[int]  `json:"possible_cpus"`
	PreemptRT    Fact[bool] `json:"preempt_rt"`

	// VmlinuxBTF is the size in bytes of the kernel's own type information.
	VmlinuxBTF Fact[int64]       `json:"vmlinux_btf_bytes"`
	ModuleBTF  Fact[ModuleNames] `json:"module_btf"`

	RingBuffer      Fact[bool] `json:"bpf_ring_buffer"`
	TracingPrograms Fact[bool] `json:"bpf_tracing_programs"`
	KprobeMulti     Fact[bool] `json:"bpf_kprobe_multi"`
	// NeedsMemlock is true when BPF maps count against RLIMIT_MEMLOCK.
	NeedsMemlock Fact[bool] `json:"bpf_needs_memlock"`
	// MemlockLimit is the soft RLIMIT_MEMLOCK in bytes; all ones is no limit.
	MemlockLimit    Fact[Limit] `json:"memlock_limit"`
	UnprivilegedBPF Fact[int]   `json:"unprivileged_bpf_disabled"`

	// KprobePMU is the perf event type number of the kprobe PMU.
	KprobePMU          Fact[int]     `json:"kprobe_pmu_type"`
	KprobesEnabled     Fact[bool]    `json:"kprobes_enabled"`
	KprobeOptimization Fact[bool]    `json:"kprobes_optimization"`
	Tracefs            Fact[Tracefs] `json:"tracefs"`

	Lockdown     Fact[Lockdown]     `json:"lockdown"`
	Capabilities Fact[Capabilities] `json:"capabilities"`
	// Symbols is whether this process sees addresses in /proc/kallsyms.
	Symbols           Fact[SymbolAccess] `json:"kallsyms"`
	KptrRestrict      Fact[int]          `json:"kptr_restrict"`
	PerfEventParanoid Fact[int]          `json:"perf_event_paranoid"`
	// Kcore is whether kernel memory can be read through /proc/kcore, or where that of
	// the host is in a container.
	Kcore Fact[bool] `json:"kcore"`

	InitPIDNamespace Fact[bool]   `json:"init_pid_namespace"`
	NetnsSelf        Fact[uint64] `json:"netns_self"`
	NetnsInit        Fact[uint64] `json:"netns_pid1"`
}

// Inspect learns the facts. It never fails as a whole: what could not be learnt
// carries its own error, which after the end of ctx is the error of ctx.
func Inspect(ctx context.Context) Facts {
	return Facts{
		Release:      learn(ctx, "uname", unameField(release)),
		Machine:      learn(ctx, "uname", unameField(machine)),
		BootID:       learn(ctx, bootIDPath, explained("no sysctl kernel.random", readTrimmed, bootIDPath)),
		PossibleCPUs: learn(ctx, possibleCPUsPath, readPossibleCPUs),
		PreemptRT:    learn(ctx, realtimePath+" and uname version", readPreemptRT),

		VmlinuxBTF: learn(ctx, vmlinuxBTFPath, readVmlinuxBTFSize),
		ModuleBTF:  learn(ctx, btfDir, readModuleBTF),

		RingBuffer:      learn(ctx, "creating a ring buffer map", haveRingBuffer),
		TracingPrograms: learn(ctx, "loading a tracing program", haveTracingPrograms),
		KprobeMulti:     learn(ctx, "attaching a kprobe.multi link", haveKprobeMulti),
		NeedsMemlock:    learn(ctx, "loading a program with a helper of 5.11", needsMemlock),
		MemlockLimit:    learn(ctx, "getrlimit", readMemlockLimit),
		UnprivilegedBPF: learn(ctx, unprivilegedBPFPath, explained("no bpf system call", readInt, unprivilegedBPFPath)),

		KprobePMU:          learn(ctx, kprobePMUPath, explained("no kprobe PMU (CONFIG_KPROBE_EVENTS)", readInt, kprobePMUPath)),
		KprobesEnabled:     learn(ctx, kprobesEnabledPath, explained("no kprobes, or debugfs not mounted", readSwitch, kprobesEnabledPath)),
		KprobeOptimization: learn(ctx, kprobesOptimizationPath, explained("no optimised kprobes (CONFIG_OPTPROBES)", readSwitch, kprobesOptimizationPath)),
		Tracefs:            learn(ctx, mountinfoPath, FindTracefs),

		Lockdown:          learn(ctx, lockdownPath, readLockdown),
		Capabilities:      learn(ctx, statusPath, readCapabilities),
		Symbols:           learn(ctx, kallsymsPath, readSymbolAccess),
		KptrRestrict:      learn(ctx, kptrRestrictPath, explained("no sysctl kernel.kptr_restrict", readInt, kptrRestrictPath)),
		PerfEventParanoid: learn(ctx, perfParanoidPath, explained("no perf events", readInt, perfParanoidPath)),
		Kcore:             learn(ctx, kcorePath, explained("no /proc/kcore (CONFIG_PROC_KCORE)", readKcore, kcorePath)),

		InitPIDNamespace: learn(ctx, pidNamespacePath, readInitPIDNamespace),
		NetnsSelf:        learn(ctx, netnsSelfPath, explained("/proc not mounted", readNamespace, netnsSelfPath)),
		NetnsInit:        learn(ctx, netnsInitPath, explained("/proc not mounted", readNamespace, netnsInitPath)),
	}
}

// String lists the facts one a line: JSON key, value, source in parentheses.
func (f Facts) String() string {
	var b strings.Builder
	v := reflect.ValueOf(f)
	for i := range v.NumField() {
		field := v.Field(i)
		text := field.Interface().(interface{ Text() string }).Text()
		fmt.Fprintf(&b, "%-26s %s (%s)\n", v.Type().Field(i).Tag.Get("json"), text, field.FieldByName("Source"))
	}
	return b.String()
}
