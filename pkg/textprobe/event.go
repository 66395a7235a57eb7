// SPDX-License-Identifier: Apache-2.0

package textprobe

import (
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Event is an open perf event that runs a BPF program.
type Event struct {
	fd   int
	link io.Closer // nil before 5.15
}

// OpenEvent opens a perf event, of all CPUs and processes, and gives it the program. The
// event's probes are armed by that. The kernel closes it when this process dies, however
// it dies. It sets the size and the period of attr.
func OpenEvent(attr *unix.PerfEventAttr, prog *ebpf.Program) (*Event, error) {
	attr.Size = unix.PERF_ATTR_SIZE_VER5
	attr.Sample = 1
	// A kprobe event is on all CPUs, whichever is named here.
	fd, err := unix.PerfEventOpen(attr, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("opening the perf event: %w", err)
	}
	e := &Event{fd: fd}
	if err := e.run(prog); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Event) run(prog *ebpf.Program) error {
	l, err := link.AttachRawLink(link.RawLinkOptions{Target: e.fd, Program: prog, Attach: ebpf.AttachPerfEvent})
	if err == nil {
		e.link = l
		return nil
	}
	if !errors.Is(err, ebpf.ErrNotSupported) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("attaching the program: %w", err)
	}
	// Before 5.15 (b89fbfbb854c) a perf event takes its program by ioctl.
	if err := unix.IoctlSetInt(e.fd, unix.PERF_EVENT_IOC_SET_BPF, prog.FD()); err != nil {
		return fmt.Errorf("attaching the program: %w", err)
	}
	if err := unix.IoctlSetInt(e.fd, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
		return fmt.Errorf("enabling the perf event: %w", err)
	}
	return nil
}

// Close takes the program off and disarms. The link holds the event: it goes first.
func (e *Event) Close() error {
	var err error
	if e.link != nil {
		err = e.link.Close()
	}
	return errors.Join(err, unix.Close(e.fd))
}
