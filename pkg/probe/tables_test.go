// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"testing"

	"github.com/cilium/ebpf"
)

// What Linux 6.12 told of these tables (fdinfo, "memlock"), on a machine of 2 CPUs.
func TestWouldTakeWhatTheKernelTakes(t *testing.T) {
	for _, test := range []struct {
		name string
		spec ebpf.MapSpec
		told uint64
	}{
		{"holders", ebpf.MapSpec{Type: ebpf.Hash, KeySize: 16, ValueSize: 64, MaxEntries: 65536}, 9438416},
		{"ref_traces", ebpf.MapSpec{Type: ebpf.Hash, KeySize: 16, ValueSize: 88, MaxEntries: 65536}, 11011328},
		{"ref_ledgers", ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 2672, MaxEntries: 2048}, 5472520},
		{"ref_places", ebpf.MapSpec{Type: ebpf.Hash, KeySize: 8, ValueSize: 4, MaxEntries: 2048}, 164944},
		{"rewrites", ebpf.MapSpec{Type: ebpf.Hash, KeySize: 32, ValueSize: 320, MaxEntries: 10240}, 4359920},
		{"stacks", ebpf.MapSpec{Type: ebpf.StackTrace, KeySize: 4, ValueSize: 256, MaxEntries: 16384}, 4587808},
	} {
		got := wouldTake(&test.spec)
		if diff := float64(got)/float64(test.told) - 1; diff < -0.02 || diff > 0.02 {
			t.Errorf("%s: %d bytes, the kernel took %d", test.name, got, test.told)
		}
	}
}

// A table of what must be there keeps its room, and none loses all of it.
func TestShrink(t *testing.T) {
	spec, err := loadLedger()
	if err != nil {
		t.Fatal(err)
	}
	shrink(spec, mostHalvings)
	for name, want := range map[string]uint32{
		ledgerMapRefSites: 65536, ledgerMapRefLedgers: leastEntries, ledgerMapRefTraces: 1024, ledgerMapStacks: 256, "ring": 1 << 20,
	} {
		if got := spec.Maps[name].MaxEntries; got != want {
			t.Errorf("%s has %d entries, want %d", name, got, want)
		}
	}
}
