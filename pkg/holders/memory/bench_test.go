// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
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
	run := func(name string, targets *Targets) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(memory)))
			n := 0
			for b.Loop() {
				targets.Find(memory, ramAt, func(int, int) { n++ })
			}
		})
	}
	run("one device", NewTargets([]uint64{wanted}))
	run("a device and its queues", NewTargets([]uint64{wanted, wanted + 0x2000, wanted + 0x2140, wanted + 0x2280}))
	run("64 devices", NewTargets(many))
	b.Run("empty lists", func(b *testing.B) {
		b.SetBytes(int64(len(memory)))
		for b.Loop() {
			SelfPointers{}.Find(memory, ramAt, func(int, int) {})
		}
	})
	// The yardstick: what a search for bytes takes, wherever they are.
	b.Run("bytes.Index", func(b *testing.B) {
		needle := binary.LittleEndian.AppendUint64(nil, wanted)
		b.SetBytes(int64(len(memory)))
		for b.Loop() {
			bytes.Index(memory, needle)
		}
	})
}
