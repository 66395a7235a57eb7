// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// churn makes the records of a host where containers come and go: a namespace is
// made, a daemon's threads go there and back, with the same few stacks, whose names
// are told each time; now and then a device waits for a moment. Times, threads and
// stacks are as irregular as on a host; the same each time.
func churn(count int) []step {
	out := make([]step, 0, count+80)
	random := rand.New(rand.NewPCG(1, 2))
	at := uint64(5_000_000_000)
	text := make([]string, 64)
	for i := range text {
		text[i] = fmt.Sprintf("do_something_in_the_kernel_%d+0x%x/0x%x", i, 16*i, 32*i)
	}
	raw := func(kind uint16, set func(b []byte)) {
		size, _ := record.WireSize(kind)
		b := make([]byte, size)
		binary.LittleEndian.PutUint16(b, kind)
		binary.LittleEndian.PutUint16(b[2:], 1)
		binary.LittleEndian.PutUint32(b[4:], uint32(size))
		at += 300 + random.Uint64N(1<<random.UintN(14))
		binary.LittleEndian.PutUint64(b[8:], at)
		set(b[rawHeaderSize:])
		rec, err := new(record.Decoder).Decode(b)
		if err != nil {
			panic(err)
		}
		out = append(out, step{rec, b})
	}
	put := binary.LittleEndian
	for n := uint64(1); len(out) < count; n++ {
		inode, tid := uint32(4026532000+random.Uint64N(3000)), uint32(1000+2*n%30000+random.Uint64N(20))
		netns := func(b []byte, cookie uint64, inode uint32) {
			put.PutUint64(b, cookie)
			put.PutUint32(b[8:], inode)
		}
		thread := func(b []byte, pid, tid uint32, start uint64, comm string) {
			put.PutUint32(b, pid)
			put.PutUint32(b[4:], tid)
			put.PutUint64(b[8:], start)
			copy(b[16:], comm)
		}
		raw(19, func(b []byte) { netns(b, n, inode); thread(b[16:], tid, tid, at, "runc:[1:CHILD]") })
		worker, path := random.Uint64N(40), random.Uint64N(8)
		for back := range 2 {
			raw(1, func(b []byte) {
				thread(b, 812, 812+uint32(worker), 77_000_000_000+worker*1_000_003, "dockerd")
				netns(b[32:], 1, 4026531840)
				from, to := b[48:], b[64:]
				if back == 1 {
					from, to = to, from
				}
				netns(from, 1, 4026531840)
				netns(to, n, inode)
				put.PutUint32(b[80:], 41)
				stacks := b[88:]
				if back == 1 {
					return // home: none is taken
				}
				put.PutUint32(stacks, 8*6)
				put.PutUint32(stacks[4:], 8*12)
				for i := range uint64(6) {
					put.PutUint64(stacks[8+8*i:], 0xffffffff81000000+i*0x1231)
				}
				for i := range uint64(12) { // the daemon's loop is the same for all paths
					put.PutUint64(stacks[8+256+8*i:], 0x55d000000000+i*0x2111+max(4-min(i, 4), 0)*path*0x40)
				}
			})
			if back == 0 {
				for i := range 18 {
					out = append(out, step{rec: &record.Symbol{Time: record.Time(at + uint64(i)), TGID: uint32(i / 6), Addr: 0xffffffff81000000 + uint64(i)*0x1231, Text: text[i]}})
				}
			}
		}
		if n%100 != 0 {
			continue
		}
		wait := func(b []byte) {
			put.PutUint64(b, 0xffff888100000000+n%5000*0x1000)
			put.PutUint64(b[8:], at-5000)
			netns(b[16:], n, inode)
			put.PutUint32(b[32:], 1)
			copy(b[48:], fmt.Sprintf("veth%07x", n*7919%0xfffffff))
		}
		raw(9, wait)
		raw(10, wait)
	}
	return out[:count]
}

func BenchmarkWriter(b *testing.B) {
	for _, mix := range []struct {
		name  string
		steps []step
	}{{"churn", churn(1 << 16)}, {"ring", onlyRaw(churn(1 << 16))}} {
		b.Run(mix.name, func(b *testing.B) {
			var out counter
			w, err := newWriter(&out, &Start{})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			n, began := 0, processor(b)
			for b.Loop() {
				s := mix.steps[n%len(mix.steps)]
				if err := w.Add(s.rec, s.raw); err != nil {
					b.Fatal(err)
				}
				n++
			}
			if err := w.Flush(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(out.n)/float64(n), "bytes/record")
			b.ReportMetric(float64(n)/(processor(b)-began)/1e6, "Mrecords/CPU-s")
		})
	}
}

func onlyRaw(all []step) []step {
	var out []step
	for _, s := range all {
		if s.raw != nil {
			out = append(out, s)
		}
	}
	return out
}

type counter struct{ n int }

func (c *counter) Write(b []byte) (int, error) {
	c.n += len(b)
	return len(b), nil
}

func BenchmarkReader(b *testing.B) {
	steps := churn(1 << 17)
	file := write(b, steps)
	b.ReportAllocs()
	n, began := 0, processor(b)
	for b.Loop() {
		r, err := NewReader(bytes.NewReader(file))
		if err != nil {
			b.Fatal(err)
		}
		for {
			if _, _, err := r.Next(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				b.Fatal(err)
			}
			n++
		}
		r.Close()
	}
	b.ReportMetric(float64(n)/(processor(b)-began)/1e6, "Mrecords/CPU-s")
}

// processor is the processor time of this process so far, in seconds: what other
// programs do at the same time does not count.
func processor(b *testing.B) float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
