// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// DumpFormat is how a guest's memory is written to a file.
type DumpFormat string

// The formats that QEMU writes and that the tests use.
const (
	DumpELF   DumpFormat = "elf"
	DumpKdump DumpFormat = "kdump-zlib" // compressed, as makedumpfile's
)

// ErrNoMonitor says that a machine was booted without [Config.Dumps].
var ErrNoMonitor = errors.New("the machine was not booted for dumps")

// Dump stops the machine, writes its memory to a file, and lets it go on. It takes as
// long as writing all of the memory does; if ctx ends before, the machine is of no more
// use. [Config.Dumps] has to be set.
func (vm *VM) Dump(ctx context.Context, path string, format DumpFormat) error {
	vm.dumping.Lock()
	defer vm.dumping.Unlock()
	if vm.qemu.monitor == nil {
		return ErrNoMonitor
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("dumping the guest's memory: %w", err)
	}
	m := monitor{file: vm.qemu.monitor, in: bufio.NewReader(vm.qemu.monitor)}
	stop := context.AfterFunc(ctx, func() { _ = m.file.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if !vm.negotiated {
		if err := m.run("qmp_capabilities", nil); err != nil {
			return fmt.Errorf("dumping the guest's memory: %w", err)
		}
		vm.negotiated = true
	}
	err = m.run("dump-guest-memory", map[string]any{"paging": false, "protocol": "file:" + path, "format": format})
	if err != nil {
		return fmt.Errorf("dumping the guest's memory to %s: %w", path, errors.Join(err, ctx.Err()))
	}
	return nil
}

// monitor is QEMU's own line, on which it takes commands as JSON (QMP).
type monitor struct {
	file *os.File
	in   *bufio.Reader
}

// run gives a command and waits for its answer.
func (m *monitor) run(command string, arguments map[string]any) error {
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	line, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if _, err := m.file.Write(append(line, '\n')); err != nil {
		return err
	}
	for { // the greeting and events come between
		line, err := m.in.ReadBytes('\n')
		if err != nil {
			return err
		}
		var answer struct {
			Return *json.RawMessage
			Error  *struct{ Desc string }
		}
		if err := json.Unmarshal(line, &answer); err != nil {
			return fmt.Errorf("QEMU answers %q: %w", line, err)
		}
		switch {
		case answer.Error != nil:
			return errors.New(answer.Error.Desc)
		case answer.Return != nil:
			return nil
		}
	}
}
