// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"debug/elf"
	"errors"
	"fmt"
	"slices"

	"github.com/netns-trace/netns-trace/pkg/holders/structs"
	"github.com/netns-trace/netns-trace/pkg/kernel"
)

// ErrArchitecture says that the memory is of a machine that is not understood.
var ErrArchitecture = errors.New("memory is searched on x86-64 only")

// Running is the running kernel.
type Running struct {
	*Kernel
	core *kernel.Core
}

// OpenRunning opens the running kernel's memory, which takes CAP_SYS_RAWIO and
// CAP_SYSLOG. Returns an error wrapping fs.ErrPermission when it may not be read, and
// [kernel.ErrSymbolsHidden]. The caller closes it.
func OpenRunning() (*Running, error) {
	core, err := kernel.OpenCore()
	if err != nil {
		return nil, err
	}
	r := &Running{core: core}
	if r.Kernel, err = r.read(); err != nil {
		core.Close()
		return nil, err
	}
	return r, nil
}

func (r *Running) read() (*Kernel, error) {
	if machine := r.core.Machine(); machine != elf.EM_X86_64 {
		return nil, fmt.Errorf("%w, not %s", ErrArchitecture, machine)
	}
	symbols, err := kernel.LoadSymbols()
	if err != nil {
		return nil, err
	}
	types, err := structs.Load()
	if err != nil {
		return nil, err
	}
	k, err := NewKernel(r.core, types, symbols)
	if err != nil {
		return nil, err
	}
	k.untyped = untypedModules(symbols, types)
	return k, nil
}

// untypedModules are the modules whose types the kernel does not tell.
func untypedModules(symbols *kernel.Symbols, types *structs.Set) []string {
	typed := types.Modules()
	var list []string
	for f := range symbols.Functions() {
		if f.Module != "" && !slices.Contains(typed, f.Module) && !slices.Contains(list, f.Module) {
			list = append(list, f.Module)
		}
	}
	slices.Sort(list)
	return list
}

// Close closes the memory.
func (r *Running) Close() { r.core.Close() }
