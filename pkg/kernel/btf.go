// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

const (
	btfDir         = "/sys/kernel/btf"
	vmlinuxBTFPath = btfDir + "/vmlinux"
)

// ErrNoModuleBTF is returned when a module has no type information: it is not
// loaded, was loaded without (Debian's kernels permit a BTF mismatch), or the
// kernel was built without CONFIG_DEBUG_INFO_BTF_MODULES, as Debian's 5.10.
var ErrNoModuleBTF = errors.New("no BTF for the module")

// Types answers questions about the kernel's types. The kernel's BTF is mapped
// at the first question and kept; only types that were asked for, and those
// they refer to, are decoded. Safe for concurrent use.
type Types struct {
	cache *btf.Cache
}

// NewTypes returns a Types that has read nothing yet.
func NewTypes() *Types { return &Types{cache: btf.NewCache()} }

// HasFunc reports whether the kernel image has BTF for a function of this name.
// Without it the function may still exist as a symbol: pahole leaves out
// functions whose prototypes the compiler changed. An error means that the BTF
// could not be read, and wraps btf.ErrNotSupported when there is none.
func (t *Types) HasFunc(name string) (bool, error) {
	spec, err := t.cache.Kernel()
	if err != nil {
		return false, fmt.Errorf("loading kernel BTF: %w", err)
	}
	return hasFunc(spec, name)
}

// ModuleHasFunc reports whether a loaded module has BTF for a function of this
// name. The module's BTF is read anew at each call, because its type numbers
// change whenever the module is loaded again. Returns an error wrapping
// ErrNoModuleBTF when the module has none.
func (t *Types) ModuleHasFunc(module, function string) (bool, error) {
	// The kernel names a module by underscores, users by either.
	name := strings.ReplaceAll(module, "-", "_")
	if name == "" || name == "vmlinux" || strings.ContainsAny(name, "/.") {
		return false, fmt.Errorf("%q is no module name", module)
	}
	base, err := t.cache.Kernel()
	if err != nil {
		return false, fmt.Errorf("loading kernel BTF: %w", err)
	}
	spec, err := btf.LoadSplitSpec(filepath.Join(btfDir, name), base)
	if errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("%w %s", ErrNoModuleBTF, name)
	}
	if err != nil {
		return false, fmt.Errorf("loading BTF of module %s: %w", name, err)
	}
	return hasFunc(spec, function)
}

// HasField reports whether some struct of the kernel image of this name has the
// field, also when the field is in an anonymous struct or union. No such struct
// is false, not an error.
func (t *Types) HasField(structName, field string) (bool, error) {
	spec, err := t.cache.Kernel()
	if err != nil {
		return false, fmt.Errorf("loading kernel BTF: %w", err)
	}
	return hasField(spec, structName, field)
}

// Struct returns the struct of this name of the kernel image. Returns an error
// wrapping btf.ErrNotFound when there is none.
func (t *Types) Struct(name string) (*btf.Struct, error) {
	spec, err := t.cache.Kernel()
	if err != nil {
		return nil, fmt.Errorf("loading kernel BTF: %w", err)
	}
	var s *btf.Struct
	if err := spec.TypeByName(name, &s); err != nil {
		return nil, fmt.Errorf("looking up struct %s in BTF: %w", name, err)
	}
	return s, nil
}

func hasFunc(spec *btf.Spec, name string) (bool, error) {
	types, err := named(spec, name)
	return slices.ContainsFunc(types, func(t btf.Type) bool {
		_, ok := t.(*btf.Func)
		return ok
	}), err
}

func hasField(spec *btf.Spec, structName, field string) (bool, error) {
	types, err := named(spec, structName)
	return slices.ContainsFunc(types, func(t btf.Type) bool {
		s, ok := t.(*btf.Struct)
		return ok && hasMember(s.Members, field, 0)
	}), err
}

// named returns every type of the name; static functions and private structs
// repeat.
func named(spec *btf.Spec, name string) ([]btf.Type, error) {
	types, err := spec.AnyTypesByName(name)
	if err != nil && !errors.Is(err, btf.ErrNotFound) {
		return nil, fmt.Errorf("looking up %s in BTF: %w", name, err)
	}
	return types, nil
}

// maxNesting bounds anonymous members within anonymous members.
const maxNesting = 16

func hasMember(members []btf.Member, field string, depth int) bool {
	for _, m := range members {
		if m.Name == field && field != "" {
			return true
		}
		if m.Name != "" || depth == maxNesting {
			continue
		}
		switch inner := btf.UnderlyingType(m.Type).(type) {
		case *btf.Struct:
			if hasMember(inner.Members, field, depth+1) {
				return true
			}
		case *btf.Union:
			if hasMember(inner.Members, field, depth+1) {
				return true
			}
		}
	}
	return false
}

// readVmlinuxBTFSize returns the size of the kernel's BTF in bytes.
func readVmlinuxBTFSize() (int64, error) {
	st, err := os.Stat(vmlinuxBTFPath)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("the kernel has no BTF (CONFIG_DEBUG_INFO_BTF): %w", err)
	}
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// ModuleNames is a list of modules in order of name.
type ModuleNames []string

// String returns how many there are; there can be hundreds.
func (m ModuleNames) String() string { return fmt.Sprintf("%d modules", len(m)) }

// readModuleBTF lists the modules that have BTF, in order of name.
func readModuleBTF() (ModuleNames, error) {
	entries, err := os.ReadDir(btfDir)
	if err != nil {
		return nil, err
	}
	modules := ModuleNames{}
	for _, e := range entries {
		if e.Name() != "vmlinux" {
			modules = append(modules, e.Name())
		}
	}
	return modules, nil
}
