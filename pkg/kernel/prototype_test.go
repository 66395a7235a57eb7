// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// routesSpec is BTF with a dst_ops whose collector returns something, or nothing,
// and with a function that is there twice with different prototypes.
func routesSpec(t *testing.T, collected btf.Type) *btf.Spec {
	t.Helper()
	i32 := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	callback := func(returned btf.Type) btf.Type {
		return &btf.Pointer{Target: &btf.FuncProto{Return: returned}}
	}
	ops := &btf.Struct{Name: "dst_ops", Size: 16, Members: []btf.Member{
		{Name: "gc_thresh", Type: i32},
		{Name: "gc", Type: callback(collected), Offset: 64},
	}}
	function := func(name string, params int) *btf.Func {
		p := &btf.FuncProto{Return: i32}
		for range params {
			p.Params = append(p.Params, btf.FuncParam{Name: "p", Type: i32})
		}
		return &btf.Func{Name: name, Type: p, Linkage: btf.StaticFunc}
	}
	b, err := btf.NewBuilder([]btf.Type{
		ops, function("dst_alloc", 4), function("release", 1), function("release", 2),
	}, nil)
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

func TestFuncParams(t *testing.T) {
	spec := routesSpec(t, &btf.Void{})
	for _, tc := range []struct {
		what, name string
		n          int
		ok         bool
	}{
		{"a function", "dst_alloc", 4, true},
		{"two of one name that differ", "release", 0, false},
		{"a struct is no function", "dst_ops", 0, false},
		{"absent", "dst_free", 0, false},
	} {
		if n, ok, err := funcParams(spec, tc.name); n != tc.n || ok != tc.ok || err != nil {
			t.Errorf("%s: %d, %v, %v; want %d, %v", tc.what, n, ok, err, tc.n, tc.ok)
		}
	}
}

func TestCallbackReturns(t *testing.T) {
	i32 := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	for _, tc := range []struct {
		what      string
		collected btf.Type
		field     string
		want      bool
	}{
		{"a collector that tells whether it refuses", i32, "gc", true},
		{"one that returns nothing", &btf.Void{}, "gc", false},
		{"a field that is no function", i32, "gc_thresh", false},
		{"absent", i32, "collect", false},
	} {
		if got, err := callbackReturns(routesSpec(t, tc.collected), "dst_ops", tc.field); got != tc.want || err != nil {
			t.Errorf("%s: %v, %v; want %v", tc.what, got, err, tc.want)
		}
	}
}
