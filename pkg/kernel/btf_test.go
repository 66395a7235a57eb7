// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// deviceSpec is BTF in which one struct has a field directly and one within an
// anonymous union within an anonymous struct, as net_device has on new kernels.
func deviceSpec(t *testing.T) *btf.Spec {
	t.Helper()
	i32 := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	union := &btf.Union{Size: 4, Members: []btf.Member{{Name: "pcpu_refcnt", Type: i32}}}
	anonymous := &btf.Struct{Size: 4, Members: []btf.Member{{Type: union}}}
	device := &btf.Struct{Name: "net_device", Size: 8, Members: []btf.Member{
		{Name: "ifindex", Type: i32},
		{Type: anonymous, Offset: 32},
	}}
	proto := &btf.FuncProto{Return: i32, Params: []btf.FuncParam{{Name: "dev", Type: &btf.Pointer{Target: device}}}}
	function := &btf.Func{Name: "free_netdev", Type: proto, Linkage: btf.StaticFunc}
	b, err := btf.NewBuilder([]btf.Type{device, function}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, &btf.MarshalOptions{Order: binary.NativeEndian})
	if err != nil {
		t.Fatal(err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestFieldsAndFunctionsOfBTF(t *testing.T) {
	spec := deviceSpec(t)
	for _, tc := range []struct {
		what string
		got  func() (bool, error)
		want bool
	}{
		{"direct field", func() (bool, error) { return hasField(spec, "net_device", "ifindex") }, true},
		{"field in anonymous members", func() (bool, error) { return hasField(spec, "net_device", "pcpu_refcnt") }, true},
		{"absent field", func() (bool, error) { return hasField(spec, "net_device", "dev_refcnt") }, false},
		{"empty field name is not the anonymous member", func() (bool, error) { return hasField(spec, "net_device", "") }, false},
		{"absent struct", func() (bool, error) { return hasField(spec, "nsproxy", "net_ns") }, false},
		{"a function is no struct", func() (bool, error) { return hasField(spec, "free_netdev", "dev") }, false},
		{"function", func() (bool, error) { return hasFunc(spec, "free_netdev") }, true},
		{"a struct is no function", func() (bool, error) { return hasFunc(spec, "net_device") }, false},
		{"absent function", func() (bool, error) { return hasFunc(spec, "dev_hold") }, false},
	} {
		if got, err := tc.got(); err != nil || got != tc.want {
			t.Errorf("%s: %v, %v; want %v", tc.what, got, err, tc.want)
		}
	}
}

func TestTypesOfThisKernel(t *testing.T) {
	if _, err := os.Stat(vmlinuxBTFPath); err != nil {
		t.Skipf("this kernel has no BTF: %v", err)
	}
	types := NewTypes()
	if ok, err := types.HasField("task_struct", "nsproxy"); err != nil || !ok {
		t.Errorf("task_struct.nsproxy: %v, %v", ok, err)
	}
	if ok, err := types.HasFunc("schedule"); err != nil || !ok {
		t.Errorf("schedule: %v, %v", ok, err)
	}
	if ok, err := types.HasFunc("no_such_function"); err != nil || ok {
		t.Errorf("no_such_function: %v, %v", ok, err)
	}
	if _, err := types.ModuleHasFunc("no-such-module", "f"); !errors.Is(err, ErrNoModuleBTF) {
		t.Errorf("a module that is not loaded: %v", err)
	}
	for _, name := range []string{"", "vmlinux", "../vmlinux", "a.b"} {
		if _, err := types.ModuleHasFunc(name, "schedule"); err == nil || errors.Is(err, ErrNoModuleBTF) {
			t.Errorf("module name %q: %v", name, err)
		}
	}
}
