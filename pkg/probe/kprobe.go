// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/textprobe"
)

// attachKprobe probes an address. Names are not used: static functions of one
// name are many, and the kernel takes the first. It is a perf event, so that the
// kernel removes it when this process dies, however it dies.
func attachKprobe(prog *ebpf.Program, addr uint64, onReturn bool) (io.Closer, error) {
	pmu, err := kernel.KprobePMU()
	if err != nil {
		return nil, err
	}
	attr := &unix.PerfEventAttr{
		Type: pmu,
		Ext1: 0, // config1: no symbol, so that
		Ext2: addr,
	}
	if onReturn {
		bit, err := kernel.RetprobeBit()
		if err != nil {
			return nil, err
		}
		attr.Config |= 1 << bit
	}
	event, err := textprobe.OpenEvent(attr, prog)
	if err != nil {
		return nil, fmt.Errorf("probing the function's address: %w", err)
	}
	return event, nil
}

// closers are closed in order.
type closers []io.Closer

func (c closers) Close() error {
	var errs []error
	for _, one := range c {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}
