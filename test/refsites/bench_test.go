// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/refsite"
)

// debugDir names a directory with an unpacked debug package of a kernel.
const debugDir = "NETNS_TRACE_DEBUG_DIR"

// BenchmarkScan is what looking at a vmlinux and 150 modules costs. cpu-ms/op is
// without the time that other programs take on a busy machine.
func BenchmarkScan(b *testing.B) {
	dir := os.Getenv(debugDir)
	if dir == "" {
		b.Skip(debugDir + " names no unpacked debug package of a kernel")
	}
	const modules = 150
	var objects []*object
	var layout refsite.Layout
	haveModules, textBytes := 0, 0
	err := eachFile(b.Context(), dir, func(module string, data []byte) error {
		if module != "" && haveModules == modules {
			return nil
		}
		o, err := openObject(data, module)
		if err != nil {
			return err
		}
		if module == "" {
			if layout, err = o.layout(); err != nil {
				return err
			}
		} else {
			haveModules++
		}
		o.file = nil
		objects = append(objects, o)
		for _, c := range o.sections {
			textBytes += len(c.bytes)
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(textBytes))
	before := cpuTime(b)
	sites := 0
	for b.Loop() {
		sites = 0
		for _, o := range objects {
			found, err := refsite.Scan(b.Context(), o, o.ranges(), o, layout)
			if err != nil {
				b.Fatal(err)
			}
			sites += len(found)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-before)/1e6/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(sites), "sites")
}

// cpuTime is the nanoseconds that this process has used.
func cpuTime(b *testing.B) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
