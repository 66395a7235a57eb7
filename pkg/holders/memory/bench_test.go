// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// searched is 256 MiB like those of slabs: half zero, a quarter pointers into the same
// memory as what is looked for, the rest small numbers.
func searched() []byte {
	const size = 256 << 20
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(1, 2))
	for at := 0; at < size; at += 8 {
		switch n := r.Uint64(); n % 4 {
		case 0:
			binary.LittleEndian.PutUint64(b[at:], ramAt+n>>20%(4<<30)&^7)
		case 1:
			binary.LittleEndian.PutUint64(b[at:], n>>52)
		}
	}
	return b
}

// The word that is looked for is not there: all is gone through.
const wanted = ramAt + 0x123456780

func BenchmarkSearch(b *testing.B) {
	memory := searched()
	many := make([]uint64, 64)
	for i := range many {
		many[i] = ramAt + uint64(i)*0x3210000 + 0x1238
	}
	run := func(name string, search func()) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(memory)))
			before := processorTime(b)
			for b.Loop() {
				search()
			}
			// By the clock it says how busy the machine is.
			b.ReportMetric(float64(len(memory))*float64(b.N)/float64(processorTime(b)-before), "GB/cpu-s")
		})
	}
	n := 0
	find := func(p Pattern) func() { return func() { p.Find(memory, ramAt, func(int, int) { n++ }) } }
	run("one device", find(NewTargets([]uint64{wanted})))
	run("a device and its queues", find(NewTargets([]uint64{wanted, wanted + 0x2000, wanted + 0x2140, wanted + 0x2280})))
	run("64 devices", find(NewTargets(many)))
	run("empty lists", find(SelfPointers{}))
	// The yardstick: what a search for bytes takes, wherever they are.
	needle := binary.LittleEndian.AppendUint64(nil, wanted)
	run("bytes.Index", func() { bytes.Index(memory, needle) })
}

// processorTime is what this process has used of processors.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
