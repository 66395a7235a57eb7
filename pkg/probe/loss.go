// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// lossCause is one index of the map losses: enum loss in headers/record.h, in its
// order.
type lossCause struct {
	name       string
	detailOnly bool // only a detail of a record was lost
}

var lossCauses = []lossCause{
	{"ring_full", false},
	{"away_full", false},
	{"homes_full", false},
	{"waiting_full", false},
	{"calls_full", true},
	{"kernel_stack", true},
	{"user_stack", true},
	{"stack_cut", true},
	{"rewrites_full", false},
	{"read", true},
	{"holders_full", false},
	{"stack_skipped", true},
	{"text_cut", true},
	{"entries_full", false},
	{"ledgers_full", false},
	{"crossings_full", false},
	{"failures_full", false},
	{"devices_full", false},
	{"traces_full", true},
	{"site_unknown", false},
}

// Missed is the cause of hits at which the kernel did not run the program, because one
// was already running on that CPU. It counts them since 5.12 (9ed9e9ba2337).
const Missed = "missed"

// RingFull is the cause of records lost because nobody read them fast enough.
const RingFull = "ring_full"

// Losses reads what was lost since the start, by detector and cause; what is 0 is
// left out.
func (s *Session) Losses() ([]record.Loss, error) {
	var out []record.Loss
	at := now()
	add := func(l record.Loss) {
		i := slices.IndexFunc(out, func(o record.Loss) bool { return o.Detector == l.Detector && o.Cause == l.Cause })
		switch {
		case l.Count == 0:
		case i < 0:
			out = append(out, l)
		default:
			out[i].Count += l.Count
		}
	}
	for _, part := range s.parts() {
		o := s.objects[part]
		counts, err := o.lossCounts()
		if err != nil {
			return nil, fmt.Errorf("reading the losses of %s: %w", part, err)
		}
		for i, cause := range lossCauses {
			add(record.Loss{Time: at, Detector: o.detector, Cause: cause.name, Count: counts[i], DetailOnly: cause.detailOnly})
		}
		add(record.Loss{Time: at, Detector: o.detector, Cause: Missed, Count: o.missed()})
	}
	return out, nil
}

// lossCounts sums each cause over the CPUs: by one call where the kernel has one for
// such tables (since 5.13), because this is what an idle host pays for.
func (o *object) lossCounts() ([]uint64, error) {
	m, counts := o.maps["losses"], make([]uint64, len(lossCauses))
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, err
	}
	perCPU := make([]uint64, len(counts)*cpus)
	n, err := m.BatchLookup(new(ebpf.MapBatchCursor), make([]uint32, len(counts)), perCPU, nil)
	if n == len(counts) && (err == nil || errors.Is(err, ebpf.ErrKeyNotExist)) {
		for i, n := range perCPU {
			counts[i/cpus] += n
		}
		return counts, nil
	}
	for i := range counts {
		if counts[i], err = perCPUSum(m, uint32(i)); err != nil {
			return nil, err
		}
	}
	return counts, nil
}

func perCPUSum(m *ebpf.Map, key uint32) (uint64, error) {
	var perCPU []uint64
	if err := m.Lookup(key, &perCPU); err != nil {
		return 0, err
	}
	var sum uint64
	for _, n := range perCPU {
		sum += n
	}
	return sum, nil
}

func (o *object) missed() uint64 {
	sum := o.missedBefore
	for _, p := range o.programs {
		if stats, err := p.Stats(); err == nil { // before 5.8 nothing is told
			sum += stats.RecursionMisses
		}
	}
	return sum
}
