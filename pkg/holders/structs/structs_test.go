// SPDX-License-Identifier: Apache-2.0

package structs_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netns-trace/netns-trace/pkg/holders/btftest"
	"github.com/netns-trace/netns-trace/pkg/holders/structs"
)

// kernelTypes are a few types of a kernel, and of a module on top of it.
func kernelTypes() (vmlinux, module []byte) {
	b := btftest.New().
		Struct("net_device", 64, btftest.Member{Name: "ifindex", Offset: 8, Type: "u32"}).
		Struct("list_head", 16, btftest.Member{Name: "next", Type: "void*"}, btftest.Member{Name: "prev", Offset: 8, Type: "void*"}).
		Struct("in_device", 32, btftest.Member{Name: "dev", Type: "*net_device"}, btftest.Member{Name: "dead", Offset: 8, Type: "bool"}).
		Struct("fib_nh_common", 16, btftest.Member{Name: "nhc_dev", Type: "*net_device"}, btftest.Member{Name: "nhc_family", Offset: 8, Type: "u16"}).
		Union("anon:nh", 16, btftest.Member{Name: "nh_common", Type: "fib_nh_common"}, btftest.Member{Name: "raw", Type: "u64"}).
		Struct("fib_nh", 32, btftest.Member{Type: "anon:nh"}, btftest.Member{Name: "weight", Offset: 16, Type: "u32"}).
		Struct("fib_info", 32, btftest.Member{Name: "list", Type: "list_head"}, btftest.Member{Name: "fib_nh", Offset: 32, Type: "[0]fib_nh"}).
		Struct("bonds", 40, btftest.Member{Name: "dev", Offset: 8, Type: "[4]*net_device"}).
		Struct("slab", 16, btftest.Member{Name: "inuse", Bits: 16, Type: "u32"}, btftest.Member{Name: "objects", Bit: 16, Bits: 15, Type: "u32"}).
		Enum("netdev_state_t", "STATE_START", 0, "STATE_LINKWATCH_PENDING", 2)
	m := b.Module().Struct("llc_sock", 24, btftest.Member{Name: "dev", Offset: 16, Type: "*net_device"})
	return b.Bytes(), m.Bytes()
}

func load(t *testing.T) *structs.Set {
	t.Helper()
	vmlinux, module := kernelTypes()
	s, err := structs.New(vmlinux)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Add("llc2", module); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryPlaceOfAPointerIsFound(t *testing.T) {
	s := load(t)
	got := make(map[string]structs.Site)
	for _, site := range s.PointersTo("net_device") {
		name := s.Name(site.Type)
		site.Type = structs.Type{}
		got[name] = site
	}
	want := map[string]structs.Site{
		"in_device":     {},
		"fib_nh_common": {},
		"fib_nh":        {},
		"fib_info":      {Offset: 32, Stride: 32},
		"bonds":         {Offset: 8, Stride: 8, Count: 4},
		"llc_sock":      {Offset: 16},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b structs.Type) bool { return a == b })); diff != "" {
		t.Errorf("places (-want +got):\n%s", diff)
	}
}

func TestAPlaceInAnArrayIsAtEachOfItsElements(t *testing.T) {
	site := structs.Site{Offset: 32, Stride: 32}
	for offset, want := range map[uint32]bool{32: true, 64: true, 96: false, 40: false, 0: false} {
		if got := site.At(offset, 96); got != want {
			t.Errorf("at %d of an object of 96 bytes: %v", offset, got)
		}
	}
	bounded := structs.Site{Offset: 8, Stride: 8, Count: 4}
	if !bounded.At(32, 1024) || bounded.At(40, 1024) {
		t.Error("an array of 4 does not have 4 elements")
	}
}

func TestThePathToAPointerIsTold(t *testing.T) {
	s := load(t)
	for _, tc := range []struct {
		structName string
		offset     uint32
		want       string
	}{
		{"in_device", 0, "in_device.dev@0"},
		{"in_device", 8, ""}, // a bool
		{"fib_info", 32, "fib_info.fib_nh.nh_common.nhc_dev@0 fib_nh.nh_common.nhc_dev@32 fib_nh_common.nhc_dev@32"},
		{"fib_info", 64, "fib_info.fib_nh.nh_common.nhc_dev@0 fib_nh.nh_common.nhc_dev@64 fib_nh_common.nhc_dev@64"},
		{"bonds", 24, "bonds.dev@0"},
		{"llc_sock", 16, "llc_sock.dev@0"},
		{"llc_sock", 17, ""},
	} {
		typ, ok := s.Struct(tc.structName)
		if !ok {
			t.Fatal("no struct", tc.structName)
		}
		var got []string
		for _, step := range s.Steps(typ, tc.offset) {
			got = append(got, s.Name(step.Struct)+"."+step.Path+"@"+itoa(step.At))
		}
		if text := strings.Join(got, " "); text != tc.want {
			t.Errorf("%s+%d: %q, want %q", tc.structName, tc.offset, text, tc.want)
		}
	}
}

func itoa(n uint32) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

func TestFieldsAreFound(t *testing.T) {
	s := load(t)
	for _, tc := range []struct {
		structName, path   string
		offset, size, bits uint32
	}{
		{"net_device", "ifindex", 8, 4, 0},
		{"fib_nh", "nh_common.nhc_family", 8, 2, 0}, // through an anonymous union
		{"slab", "objects", 2, 2, 15},
		{"bonds", "dev", 8, 32, 0},
	} {
		f, err := s.Field(tc.structName, tc.path)
		if err != nil || f.Offset != tc.offset || f.Size != tc.size || uint32(f.Bits) != tc.bits {
			t.Errorf("%s.%s: %+v, %v", tc.structName, tc.path, f, err)
		}
	}
	for _, path := range []string{"nosuch", "ifindex.deeper", ""} {
		if _, err := s.Field("net_device", path); !errors.Is(err, structs.ErrNoField) {
			t.Errorf("net_device.%s: %v, want ErrNoField", path, err)
		}
	}
	if v, ok := s.AnyEnumValue("STATE_LINKWATCH_PENDING"); !ok || v != 2 {
		t.Errorf("STATE_LINKWATCH_PENDING is %d, %v", v, ok)
	}
	if got := s.Modules(); len(got) != 1 || got[0] != "llc2" {
		t.Errorf("modules %q", got)
	}
}

// BTF comes from the kernel, but may come from a file some day: nothing in it may make
// a question go on for ever, or read beyond its end.
func FuzzSet(f *testing.F) {
	vmlinux, module := kernelTypes()
	f.Add(vmlinux)
	f.Add(module)
	circle := append([]byte{}, vmlinux...)
	for i := 24; i+12 <= len(circle); i += 4 {
		if binary.LittleEndian.Uint32(circle[i:])>>24&0x1f == 2 { // a pointer becomes a typedef of itself
			binary.LittleEndian.PutUint32(circle[i:], 8<<24)
		}
	}
	f.Add(circle)
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := structs.New(raw)
		if err != nil {
			return
		}
		_ = s.Add("module", raw)
		// Each question has its bound; a thousand sites of the largest structs that fit
		// into a few hundred bytes take seconds, and tell nothing that the first do not.
		const sites = 16
		list := s.PointersTo("net_device")
		for _, site := range list[:min(sites, len(list))] {
			s.Steps(site.Type, site.Offset)
			for _, l := range s.Leaves(site.Type) {
				if l.Kind == structs.Enum {
					s.HasConstant(l.Target, 1)
				}
			}
			s.HasMemberOf(site.Type, "netdevice_tracker")
			_ = s.Size(site.Type)
		}
		_, _ = s.Field("fib_nh", "nh_common.nhc_family")
		s.AnyEnumValue("STATE_START")
	})
}
