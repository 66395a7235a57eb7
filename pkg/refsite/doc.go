// SPDX-License-Identifier: Apache-2.0

// Package refsite finds where a kernel takes and drops references of network
// devices.
//
// dev_hold and dev_put, and netdev_hold and netdev_put that replace them, are
// inline functions: there is no symbol to probe. With per-CPU counters each leaves
// one instruction, incl %gs:(%reg) or decl %gs:(%reg), whose register was loaded
// from net_device.pcpu_refcnt. [Scan] finds these instructions in the text of a
// kernel and its modules, given the bounds of its functions and the offset of that
// field. It needs no DWARF.
//
// The way there: a search of the bytes for the few encodings of the instruction
// (prefilter.go); the functions that have one are decoded (decode.go), their blocks
// joined to a graph (graph.go), what each register holds is followed through it
// (values.go), and rules say whether the register is such a pointer (rules.go).
//
// The package does not touch the kernel. [Running] and [OpenKcore] read one.
package refsite
