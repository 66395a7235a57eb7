// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf/btf"
)

// HasTracepoint reports whether the kernel image has a tracepoint of this name
// that BPF programs can attach to: the kernel defines a type btf_trace_NAME for
// each. Tracepoints of modules are not among them.
func (t *Types) HasTracepoint(name string) (bool, error) {
	spec, err := t.cache.Kernel()
	if err != nil {
		return false, fmt.Errorf("loading kernel BTF: %w", err)
	}
	types, err := named(spec, "btf_trace_"+name)
	return slices.ContainsFunc(types, func(t btf.Type) bool {
		_, ok := t.(*btf.Typedef)
		return ok
	}), err
}

// Cache is the kernel's type information as the BPF loader wants it, so that a
// process decodes it once.
func (t *Types) Cache() *btf.Cache { return t.cache }
