// SPDX-License-Identifier: Apache-2.0

package refsite

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
)

func TestLayoutOfNetDevice(t *testing.T) {
	pointer := &btf.Pointer{Target: &btf.Void{}}
	timer := &btf.Struct{Name: "timer_list", Size: 40}
	count := btf.Member{Name: "pcpu_refcnt", Type: pointer, Offset: 128 * 8}
	for _, tc := range []struct {
		what   string
		device *btf.Struct
		want   Layout
	}{
		{
			"6.1: the private part is behind the struct, aligned",
			&btf.Struct{Size: 1000, Members: []btf.Member{
				count,
				{Name: "watchdog_timer", Type: timer, Offset: 200 * 8},
				{Name: "other", Type: &btf.Struct{Name: "list_head", Size: 16}, Offset: 240 * 8},
			}},
			Layout{Count: 128, Embedded: []int64{200}, Members: []int64{128, 200, 240}, Private: 1024},
		},
		{
			"6.12: the counter is in a union in a struct without name, priv is a member",
			&btf.Struct{Size: 1024, Members: []btf.Member{
				{Type: &btf.Struct{Members: []btf.Member{
					{Type: &btf.Union{Members: []btf.Member{{Name: "pcpu_refcnt", Type: pointer}}}, Offset: 8 * 8},
				}}, Offset: 64 * 8},
				{Name: "dev", Type: &btf.Typedef{Name: "d", Type: &btf.Struct{Name: "device"}}, Offset: 512 * 8},
				{Name: "priv", Type: &btf.Array{}, Offset: 960 * 8},
			}},
			Layout{Count: 72, Embedded: []int64{512}, Members: []int64{64, 72, 512, 960}, Private: 960},
		},
	} {
		got, err := ReadLayout(tc.device)
		if err != nil {
			t.Errorf("%s: %v", tc.what, err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.what, diff)
		}
	}
}

func TestDevicesThatAreNotCountedPerCPU(t *testing.T) {
	device := &btf.Struct{Members: []btf.Member{{Name: "dev_refcnt", Type: &btf.Struct{Name: "refcount_struct"}}}}
	if _, err := ReadLayout(device); !errors.Is(err, ErrNoPerCPUCount) {
		t.Errorf("ReadLayout: %v, want ErrNoPerCPUCount", err)
	}
}
