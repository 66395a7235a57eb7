// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/netns-trace/netns-trace/pkg/kernel"
)

// asker asks the kernel whether a way can be expected to work, before anything is
// loaded: its types, its symbols, its event sources; never its version.
type asker struct {
	kernel   Kernel
	avoid    []Kind
	programs map[string]*ebpf.ProgramSpec
}

// hook is where one program goes.
type hook struct {
	program string
	kind    Kind
	target  string
	addr    uint64 // of the function, for the kinds that need it
}

var errSymbolsHidden = errors.New("the kernel hides its symbols' addresses (sysctl kernel.kptr_restrict)")

var errAvoided = errors.New("not to be taken, as the user asked")

// present reports whether the functions of a point are there: those of a module
// are once it is loaded, or if it is built into the kernel.
func (a asker) present(p point) bool {
	if p.module == "" {
		return true
	}
	if state, err := os.ReadFile("/sys/module/" + p.module + "/initstate"); err == nil {
		return strings.TrimSpace(string(state)) == "live"
	}
	builtIn, err := a.kernel.Types.HasFunc(p.ways[0].Target)
	return err == nil && builtIn
}

// can returns where the programs of a way go, or why it is not worth trying.
func (a asker) can(p point, w Way) ([]hook, error) {
	var hooks []hook
	for _, name := range w.programs {
		section, target, _ := strings.Cut(a.programs[name].SectionName, "/")
		h := hook{program: name, kind: Kind(section), target: target}
		if err := a.hook(p, &h); err != nil {
			return nil, err
		}
		hooks = append(hooks, h)
	}
	return hooks, nil
}

func (a asker) hook(p point, h *hook) (err error) {
	if slices.Contains(a.avoid, h.kind) {
		return errAvoided
	}
	switch h.kind {
	case Fentry, Fexit:
		if p.module != "" {
			return a.hasType(h.target, "function", func(name string) (bool, error) {
				if ok, err := a.kernel.Types.HasFunc(name); ok || err != nil {
					return ok, err
				}
				return a.kernel.Types.ModuleHasFunc(p.module, name)
			})
		}
		return a.hasType(h.target, "function", a.kernel.Types.HasFunc)
	case Iter:
		return a.hasType("bpf_iter_"+h.target, "function", a.kernel.Types.HasFunc)
	case TPBTF, RawTP:
		return a.hasType(h.target, "tracepoint", a.kernel.Types.HasTracepoint)
	case Kprobe, Kretprobe:
		h.addr, err = a.address(h.target)
		return err
	}
	return fmt.Errorf("unknown kind %q", h.kind)
}

func (a asker) hasType(name, what string, has func(string) (bool, error)) error {
	ok, err := has(name)
	if err != nil {
		return fmt.Errorf("asking the kernel's BTF for %s %s: %w", what, name, err)
	}
	if !ok {
		return fmt.Errorf("the kernel's BTF has no %s %s", what, name)
	}
	return nil
}

func (a asker) address(function string) (uint64, error) {
	symbols := a.kernel.Symbols()
	if symbols == nil {
		return 0, errSymbolsHidden
	}
	if _, err := kernel.KprobePMU(); err != nil {
		return 0, errors.New("the kernel has no kprobes (CONFIG_KPROBE_EVENTS)")
	}
	found := symbols.LookupClone(function)
	switch len(found) {
	case 0:
		return 0, fmt.Errorf("the kernel has no function %s (inlined, or of another name)", function)
	case 1:
		return found[0].Addr, nil
	}
	return 0, fmt.Errorf("the kernel has %d functions called %s", len(found), function)
}
