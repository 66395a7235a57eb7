// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/textprobe"
)

const kprobePMU = "/sys/bus/event_source/devices/kprobe/"

// attachKprobe probes an address. Names are not used: static functions of one
// name are many, and the kernel takes the first. It is a perf event, so that the
// kernel removes it when this process dies, however it dies.
func attachKprobe(prog *ebpf.Program, addr uint64, onReturn bool) (io.Closer, error) {
	pmu, err := readUint(kprobePMU + "type")
	if err != nil {
		return nil, fmt.Errorf("finding the kernel's kprobe event source: %w", err)
	}
	attr := &unix.PerfEventAttr{
		Type: uint32(pmu),
		Ext1: 0, // config1: no symbol, so that
		Ext2: addr,
	}
	if onReturn {
		bit, err := retprobeBit()
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

// retprobeBit is the bit of config that makes the probe one on return, as the
// kernel's own format file says: "config:0".
func retprobeBit() (uint, error) {
	text, err := os.ReadFile(kprobePMU + "format/retprobe")
	if err != nil {
		return 0, fmt.Errorf("asking how to probe a return: %w", err)
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(string(text)), "config:"), 10, 6)
	if err != nil {
		return 0, fmt.Errorf("reading how to probe a return from %q: %w", text, err)
	}
	return uint(n), nil
}

func readUint(path string) (uint64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", path, err)
	}
	return n, nil
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
