// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// MeasurePrograms has the kernel measure all BPF programs until the result is closed.
// It makes each hit dearer, so it is for short windows. It needs CAP_SYS_ADMIN.
func MeasurePrograms() (io.Closer, error) {
	c, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return nil, fmt.Errorf("having the kernel measure BPF programs: %w", err)
	}
	return c, nil
}

// Hits is what the kernel has measured of programs of one kind of attachment.
type Hits struct {
	Kind Kind
	Runs uint64
	Time time.Duration // without getting into the program and out
}

// Hits reads what the kernel has measured of this session's programs, by kind of
// attachment.
func (s *Session) Hits() []Hits {
	var out []Hits
	for _, part := range s.parts() {
		o := s.objects[part]
		for name, p := range o.programs {
			stats, err := p.Stats()
			if err != nil {
				continue // it cannot be told on this kernel
			}
			section, _, _ := strings.Cut(o.loader.spec.Programs[name].SectionName, "/")
			kind := Kind(section)
			i := slices.IndexFunc(out, func(h Hits) bool { return h.Kind == kind })
			if i < 0 {
				i, out = len(out), append(out, Hits{Kind: kind})
			}
			out[i].Runs += stats.RunCount
			out[i].Time += stats.Runtime
		}
	}
	return out
}

// TakeStacks says whether stacks that are taken within a budget are taken at all:
// those of references, and of objects that hold devices. Each that is not is counted
// as stack_skipped.
func (s *Session) TakeStacks(take bool) error {
	// The time up to which stacks are paid for, or STACKS_OFF (bpf/stack_budget.h).
	until := uint64(0)
	if !take {
		until = math.MaxInt64
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("counting CPUs: %w", err)
	}
	for _, part := range s.parts() {
		m := s.objects[part].maps["budgets"]
		if m == nil {
			continue
		}
		if err := m.Put(uint32(0), slices.Repeat([]uint64{until}, cpus)); err != nil {
			return fmt.Errorf("setting the budget of stacks of %s: %w", part, err)
		}
	}
	return nil
}
