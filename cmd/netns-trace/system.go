// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/probe"
)

// system is what this run found out about the kernel that it runs on.
type system struct {
	kernel probe.Kernel
	access kernel.SymbolAccess // whether the symbols have addresses
}

// examine finds out what tracing cannot do without, so that what is missing is
// named before the kernel's errno is all there is.
func examine() (system, error) {
	g, err := lookAtGround()
	if err != nil {
		return system{}, err
	}
	if err := g.check(); err != nil {
		return system{}, err
	}
	// Before 5.11 maps count as locked memory.
	if err := rlimit.RemoveMemlock(); err != nil {
		return system{}, fmt.Errorf("raising the limit of locked memory, which the kernel counts maps as before 5.11: %w: "+
			"it takes CAP_SYS_RESOURCE, or no limit from the start (LimitMEMLOCK=infinity)", err)
	}
	// What cannot be told is taken for hidden: no addresses will be had.
	access, err := kernel.ReadSymbolAccess()
	if err != nil {
		access = kernel.SymbolsHidden
	}
	symbols := new(symbolTable)
	return system{
		access: access,
		kernel: probe.Kernel{Types: kernel.NewTypes(), Symbols: symbols.get, Reload: symbols.reload},
	}, nil
}

// symbolTable is the kernel's symbols as they were last read: anew when a module was
// loaded, whose functions then have names too.
type symbolTable struct {
	first sync.Once
	last  atomic.Pointer[kernel.Symbols]
}

func (t *symbolTable) get() *kernel.Symbols {
	t.first.Do(func() { t.reload() })
	return t.last.Load()
}

func (t *symbolTable) reload() *kernel.Symbols {
	s := loadSymbols()
	t.last.Store(s)
	return s
}

func loadSymbols() *kernel.Symbols {
	s, err := kernel.LoadSymbols()
	if err != nil {
		return nil // the probes that need them are refused, with the reason
	}
	return s
}

// hidden is what it costs these detectors that the kernel shows no addresses of its
// symbols; "" when nothing.
func (s system) hidden(detectors []string) string {
	var costs []string
	if slices.Contains(detectors, probe.DetectorThreads) {
		costs = append(costs, "kernel stacks have no names")
	}
	if slices.Contains(detectors, probe.DetectorRefs) {
		costs = append(costs, "references cannot be counted")
	}
	if slices.Contains(detectors, probe.DetectorDst) {
		costs = append(costs, "counters of dst entries cannot be read")
	}
	if s.access != kernel.SymbolsHidden || len(costs) == 0 {
		return ""
	}
	return "the kernel hides its symbols' addresses (CAP_SYSLOG, sysctl kernel.kptr_restrict): " + strings.Join(costs, ", ")
}

func (s system) refcountBase() kernel.Fact[kernel.RefcountBase] {
	return kernel.Facts{}.RefcountBase(s.kernel.Symbols(), s.kernel.Types)
}

// explain adds what a person can do about an error of attaching.
func explain(err error) error {
	var hints []string
	if errors.Is(err, ebpf.ErrNotSupported) {
		hints = append(hints, "this kernel lacks a feature that tracing needs; 5.10 is the oldest that has all")
	}
	if errors.Is(err, unix.EPERM) {
		hints = append(hints, "the kernel refused: is this a container without --privileged, or a security module's policy?")
	}
	if len(hints) == 0 {
		return err
	}
	return fmt.Errorf("%w\n%s\n\"netns-trace doctor\" tells more", err, strings.Join(hints, "\n"))
}
