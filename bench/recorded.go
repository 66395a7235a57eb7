// SPDX-License-Identifier: Apache-2.0

package main

// recordedAdded has what others add, from a run on Debian's 6.12 and 6.1 with bpftrace
// 0.23, for when they are not measured: with -short, or without a network.
var recordedAdded = map[string]map[string]float64{
	"6.12": {bpftraceCsumFentry: 1798, bpftraceCsumKprobe: 2332, histograms: 2884, bpftraceClone: 460},
	"6.1":  {bpftraceCsumFentry: 1847, bpftraceCsumKprobe: 2349, histograms: 2925, bpftraceClone: 460},
}

// recorded returns what a variant added to its workload in that run.
func recorded(kernel, variant string) (added float64, ok bool) {
	added, ok = recordedAdded[kernel][variant]
	return added, ok
}
