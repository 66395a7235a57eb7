// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"slices"

	"github.com/cilium/ebpf"
)

// RefsOptions says how much of who holds devices is kept.
type RefsOptions struct {
	// Objects is how many objects that hold devices are kept track of; 0 is the
	// default of bpf/refs_holders.h.
	Objects uint32
	// NoObjects leaves out the programs that follow objects that hold devices.
	NoObjects bool
	// OneIn is of how many objects one is followed: see Session.Sample. 0 is 1.
	OneIn  uint32
	Ledger LedgerOptions
}

// points are the things to see: those that are always, and the families of objects.
func (o *RefsOptions) points() []point {
	if o.NoObjects {
		return refsWaits
	}
	return refsPoints
}

var refsPoints = slices.Concat(refsWaits, holderPoints)

var refsWaits = []point{
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
		thing: thingFreed,
		lost:  "the end of a wait is noticed late, by 10 to 30 s of the kernel's silence",
		ways: []Way{
			{Fentry, "free_netdev", []string{refsProgFreeFentry}},
			{Kprobe, "free_netdev", []string{refsProgFreeKprobe}},
		},
	},
}

const thingFreed = "devices being freed"

func (o *RefsOptions) configure(spec *ebpf.CollectionSpec, k Kernel) error {
	switch {
	case o.NoObjects: // nor is there a need of their tables, which are megabytes
		spec.Maps[refsMapHolders].MaxEntries, spec.Maps[refsMapStacks].MaxEntries = 1, 1
	case o.Objects > 0:
		spec.Maps[refsMapHolders].MaxEntries = o.Objects
	}
	perCPU, cpus := perCPUPlace(k)
	// Where it is not known, fexit cannot be attached to it either.
	args, _, err := k.Types.FuncParams("dst_alloc")
	if err != nil {
		return err
	}
	mask := max(1, o.OneIn) - 1
	return setVariables(spec, map[string]any{
		refsVarSampleMade:   mask,
		refsVarSampleGone:   mask,
		refsVarPerCpuOffset: perCPU,
		refsVarCpus:         cpus,
		refsVarDstAllocArgs: uint32(args),
	})
}

// perCPUPlace is what programs need to add up a per-CPU counter: the address of
// __per_cpu_offset[], 0 when it is not known and the count is then said to be unknown,
// and how many CPUs are possible, 0 when that is not known either.
func perCPUPlace(k Kernel) (offsets uint64, cpus uint32) {
	n, err := ebpf.PossibleCPU()
	if err != nil {
		return 0, 0
	}
	if symbols := k.Symbols(); symbols != nil {
		if found := symbols.LookupData("__per_cpu_offset"); len(found) == 1 {
			offsets = found[0].Addr
		}
	}
	return offsets, uint32(n)
}
