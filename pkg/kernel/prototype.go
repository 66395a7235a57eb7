// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"

	"github.com/cilium/ebpf/btf"
)

// FuncParams returns how many parameters a function of the kernel image has. ok is
// false when the BTF has no function of the name, or several that differ.
func (t *Types) FuncParams(name string) (n int, ok bool, err error) {
	spec, err := t.cache.Kernel()
	if err != nil {
		return 0, false, fmt.Errorf("loading kernel BTF: %w", err)
	}
	return funcParams(spec, name)
}

func funcParams(spec *btf.Spec, name string) (n int, ok bool, err error) {
	types, err := named(spec, name)
	if err != nil {
		return 0, false, err
	}
	for _, found := range types {
		proto, isFunc := prototype(found)
		if !isFunc {
			continue
		}
		if ok && len(proto.Params) != n {
			return 0, false, nil
		}
		n, ok = len(proto.Params), true
	}
	return n, ok, nil
}

// CallbackReturns reports whether the function that a field of a struct points to
// returns something. No such field, or one of another type, is false.
func (t *Types) CallbackReturns(structName, field string) (bool, error) {
	spec, err := t.cache.Kernel()
	if err != nil {
		return false, fmt.Errorf("loading kernel BTF: %w", err)
	}
	return callbackReturns(spec, structName, field)
}

func callbackReturns(spec *btf.Spec, structName, field string) (bool, error) {
	types, err := named(spec, structName)
	if err != nil {
		return false, err
	}
	for _, found := range types {
		s, ok := found.(*btf.Struct)
		if !ok {
			continue
		}
		for _, m := range s.Members {
			if m.Name == field {
				return returns(m.Type), nil
			}
		}
	}
	return false, nil
}

func prototype(t btf.Type) (*btf.FuncProto, bool) {
	f, ok := t.(*btf.Func)
	if !ok {
		return nil, false
	}
	proto, ok := f.Type.(*btf.FuncProto)
	return proto, ok
}

func returns(t btf.Type) bool {
	p, ok := btf.UnderlyingType(t).(*btf.Pointer)
	if !ok {
		return false
	}
	proto, ok := btf.UnderlyingType(p.Target).(*btf.FuncProto)
	if !ok {
		return false
	}
	_, void := btf.UnderlyingType(proto.Return).(*btf.Void)
	return !void
}
