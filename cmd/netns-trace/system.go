// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/probe"
)

// system is what this run found out about the kernel that it runs on.
type system struct {
	kernel     probe.Kernel
	symbolsErr func() error // why the symbols are not known
}

// examine finds out what tracing cannot do without, so that what is missing is
// named before the kernel's errno is all there is.
func examine() (system, error) {
	caps, err := kernel.ReadCapabilities()
	if err != nil {
		return system{}, fmt.Errorf("reading this process's capabilities: %w", err)
	}
	if !caps.Has("CAP_SYS_ADMIN") && (!caps.Has("CAP_BPF") || !caps.Has("CAP_PERFMON")) {
		return system{}, errNotRoot
	}
	if init, err := kernel.InInitPIDNamespace(); err == nil && !init {
		return system{}, errors.New("this is a container's pid namespace, whose pids the kernel's tracing does not know: " +
			"run on the host, or give the container the host's (docker run --pid=host)")
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		return system{}, fmt.Errorf("the kernel does not describe its own types, which every probe needs: %w "+
			"(CONFIG_DEBUG_INFO_BTF=y; distributions have it since 5.10; is /sys mounted?)", err)
	}
	// Before 5.11 maps count as locked memory.
	if err := rlimit.RemoveMemlock(); err != nil {
		return system{}, fmt.Errorf("raising the limit of locked memory: %w", err)
	}
	load := sync.OnceValues(kernel.LoadSymbols)
	return system{
		kernel: probe.Kernel{
			Types:   kernel.NewTypes(),
			Symbols: func() *kernel.Symbols { s, _ := load(); return s },
			Reload:  func() *kernel.Symbols { s, _ := kernel.LoadSymbols(); return s },
		},
		symbolsErr: func() error { _, err := load(); return err },
	}, nil
}

func (s system) refcountBase() kernel.Fact[kernel.RefcountBase] {
	return kernel.Facts{}.RefcountBase(s.kernel.Symbols(), s.kernel.Types)
}

// explain adds what a person can do about an error of attaching.
func explain(err error) error {
	var hints []string
	if locked, lockErr := kernel.ReadLockdown(); lockErr == nil && locked == kernel.LockdownConfidentiality {
		hints = append(hints, "the kernel is locked down (confidentiality), which forbids BPF programs to read its memory")
	}
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
