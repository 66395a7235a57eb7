// SPDX-License-Identifier: Apache-2.0

package refsite

import (
	"context"
	"fmt"
	"slices"

	"github.com/netns-trace/netns-trace/pkg/kernel"
)

// Running returns the sites in the running kernel and the modules that were loaded
// when symbols was read. A site where another tracer has a probe is not found: the
// bytes of its instruction are the probe's.
//
// Returns an error wrapping [ErrArchitecture] on machines other than x86-64,
// [ErrNoPerCPUCount] when the kernel does not count per CPU, and fs.ErrPermission
// when its memory may not be read.
func Running(ctx context.Context, symbols *kernel.Symbols, types *kernel.Types) ([]Site, error) {
	return running(ctx, symbols, types, func(string) bool { return true })
}

// InModules is as Running, for these modules only.
func InModules(ctx context.Context, symbols *kernel.Symbols, types *kernel.Types, modules []string) ([]Site, error) {
	return running(ctx, symbols, types, func(module string) bool { return slices.Contains(modules, module) })
}

func running(ctx context.Context, symbols *kernel.Symbols, types *kernel.Types, want func(module string) bool) ([]Site, error) {
	device, err := types.Struct("net_device")
	if err != nil {
		return nil, err
	}
	layout, err := ReadLayout(device)
	if err != nil {
		return nil, fmt.Errorf("this kernel's %w", err)
	}
	core, err := OpenKcore()
	if err != nil {
		return nil, err
	}
	defer core.Close()
	return Scan(ctx, core, textOf(symbols, want), &loaded{symbols, staticBranches{core: core, symbols: symbols, types: types}}, layout)
}

// textOf returns the ranges that the functions of the kernel and its modules fill, of
// those that are wanted; the kernel's own module is "".
func textOf(symbols *kernel.Symbols, want func(module string) bool) []Range {
	var list []Range
	module := ""
	for f := range symbols.Functions() {
		if !want(f.Module) {
			continue
		}
		if n := len(list); n > 0 && module == f.Module && f.Start == list[n-1].End {
			list[n-1].End = f.End
			continue
		}
		list = append(list, Range{f.Start, f.End})
		module = f.Module
	}
	return list
}

// loaded is the symbols of the running kernel as [Symbols].
type loaded struct {
	*kernel.Symbols
	branches staticBranches
}

func (l *loaded) StaticBranchInto(module string, start, end uint64) bool {
	return l.branches.into(module, start, end)
}

func (l *loaded) FunctionAt(addr uint64) (Function, bool) {
	f, ok := l.Symbols.FunctionAt(addr)
	if !ok {
		return Function{}, false
	}
	name, _ := l.Resolve(f.Start)
	return Function{Name: name.Symbol, Start: f.Start, End: f.End, Module: f.Module, Last: f.Last}, true
}

func (l *loaded) FunctionsNamed(name, module string) []Function {
	var list []Function
	for _, s := range l.Lookup(name) {
		if s.Module != module {
			continue
		}
		if f, ok := l.FunctionAt(s.Addr); ok {
			list = append(list, f)
		}
	}
	return list
}
