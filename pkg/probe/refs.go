// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"github.com/cilium/ebpf"
)

var refsPoints = []point{
	{
		thing: "devices waiting in unregistration", required: true,
		ways: []Way{
			{Fentry, "call_netdevice_notifiers_info", []string{refsProgNotifyFentry}},
			{Kprobe, "call_netdevice_notifiers_info", []string{refsProgNotifyKprobe}},
			// Tells the name and the count, not the namespace, and only every 10 s.
			{RawTP, "console", []string{refsProgConsoleRawTp}},
		},
	},
	{
		thing: "devices being freed",
		lost:  "the end of a wait is noticed late, by 10 to 30 s of the kernel's silence",
		ways: []Way{
			{Fentry, "free_netdev", []string{refsProgFreeFentry}},
			{Kprobe, "free_netdev", []string{refsProgFreeKprobe}},
		},
	},
}

func configureRefs(spec *ebpf.CollectionSpec, k Kernel) error {
	var perCPU uint64
	if symbols := k.Symbols(); symbols != nil {
		if found := symbols.LookupData("__per_cpu_offset"); len(found) == 1 {
			perCPU = found[0].Addr
		}
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		cpus, perCPU = 0, 0 // the count is then said to be unknown
	}
	return setVariables(spec, map[string]any{
		refsVarPerCpuOffset: perCPU,
		refsVarCpus:         uint32(cpus),
	})
}
