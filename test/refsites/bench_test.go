// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/refsite"
)

func BenchmarkScan(b *testing.B) {
	root := os.Getenv("ROOT")
	vm, _ := filepath.Glob(root + "/usr/lib/debug/boot/vmlinux-*")
	data, _ := os.ReadFile(vm[0])
	v, err := openObject(data, "")
	if err != nil {
		b.Fatal(err)
	}
	raw, _ := v.file.Section(".BTF").Data()
	spec, _ := btf.LoadSpecFromReader(bytes.NewReader(raw))
	var dev *btf.Struct
	spec.TypeByName("net_device", &dev)
	l, err := refsite.ReadLayout(dev)
	if err != nil {
		b.Fatal(err)
	}
	objs := []*object{v}
	size := 0
	filepath.WalkDir(root+"/usr/lib/debug/lib/modules", func(p string, d fs.DirEntry, err error) error {
		if strings.HasSuffix(p, ".ko") && strings.Contains(p, "/net/") && len(objs) < 151 {
			data, _ := os.ReadFile(p)
			o, err := openObject(data, filepath.Base(p))
			if err == nil {
				o.file = nil
				objs = append(objs, o)
				for _, s := range o.sections {
					size += len(s.bytes)
				}
			}
		}
		return nil
	})
	b.Logf("%d objects, %d bytes modules", len(objs), size)
	b.ReportAllocs()
	var before, after unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &before)
	for b.Loop() {
		n := 0
		for _, o := range objs {
			s, err := refsite.Scan(b.Context(), o, o.ranges(), o, l)
			if err != nil {
				b.Fatal(err)
			}
			n += len(s)
		}
		b.ReportMetric(float64(n), "sites")
	}
	unix.Getrusage(unix.RUSAGE_SELF, &after)
	b.ReportMetric(float64(after.Utime.Nano()-before.Utime.Nano()+after.Stime.Nano()-before.Stime.Nano())/1e6/float64(b.N), "cpu-ms/op")
}
