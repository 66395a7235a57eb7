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
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
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
	attr.Size = uint32(sizeofPerfEventAttr)
	if onReturn {
		bit, err := retprobeBit()
		if err != nil {
			return nil, err
		}
		attr.Config |= 1 << bit
	}
	fd, err := unix.PerfEventOpen(attr, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("probing address of the function: %w", err)
	}
	event := perfEvent(fd)
	l, err := link.AttachRawLink(link.RawLinkOptions{Target: fd, Program: prog, Attach: ebpf.AttachPerfEvent})
	if err == nil {
		return closers{l, event}, nil
	}
	if !errors.Is(err, ebpf.ErrNotSupported) && !errors.Is(err, unix.EINVAL) {
		return nil, errors.Join(fmt.Errorf("attaching to the probe: %w", err), event.Close())
	}
	// Before 5.15 (b89fbfbb854c) a perf event takes its program by ioctl.
	if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_BPF, prog.FD()); err != nil {
		return nil, errors.Join(fmt.Errorf("attaching to the probe: %w", err), event.Close())
	}
	if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("enabling the probe: %w", err), event.Close())
	}
	return event, nil
}

const sizeofPerfEventAttr = unix.PERF_ATTR_SIZE_VER5

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

type perfEvent int

func (e perfEvent) Close() error { return unix.Close(int(e)) }

// closers are closed in order.
type closers []io.Closer

func (c closers) Close() error {
	var errs []error
	for _, one := range c {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}
