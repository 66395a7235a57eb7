// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// lossCause is one index of the map losses: enum loss in headers/loss.h, in its
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
	{"traces_busy", true},
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
	if l := s.ledger; l != nil {
		if l.probes != nil {
			l.lookAtMissed(missedEvery)
		}
		add(record.Loss{Time: at, Detector: l.object.detector, Cause: Missed, Count: l.missed.count})
	}
	return out, nil
}

const (
	lossesMap = "losses"
	// lossRoom is LOSS_ROOM of headers/loss.h.
	lossRoom = 32
)

// countLosses gives each CPU its numbers in the map of losses.
func countLosses(spec *ebpf.CollectionSpec) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("counting CPUs: %w", err)
	}
	spec.Maps[lossesMap].MaxEntries = uint32(cpus * lossRoom)
	return nil
}

// lossCounts sums each cause over the CPUs.
func (o *object) lossCounts() ([]uint64, error) {
	perCPU := make([]uint64, o.maps[lossesMap].MaxEntries())
	if err := readMapped(o.maps[lossesMap], perCPU); err != nil {
		return nil, err
	}
	counts := make([]uint64, len(lossCauses))
	for cpu := range slices.Chunk(perCPU, lossRoom) {
		for i := range counts {
			counts[i] += cpu[i]
		}
	}
	return counts, nil
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
