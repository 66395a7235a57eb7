// SPDX-License-Identifier: Apache-2.0

package probe

import "fmt"

// MaxOneIn is the sparsest that objects can be followed: one in so many.
const MaxOneIn = 1 << 16

// mapSampling is the section of bpf/sampling.h.
const mapSampling = ".data.sampling"

// samplingMasks are its variables.
type samplingMasks struct{ Made, Gone uint32 }

// FollowsObjects reports whether objects that hold devices are followed.
func (s *Session) FollowsObjects() bool {
	o := s.objects[DetectorRefs]
	return o != nil && o.iterators[refsProgHoldersIter] != nil
}

// Sample follows one in oneIn of the objects that hold devices that are made from now
// on: by a hash of the address, so that the making and the freeing of an object are
// both seen or neither. oneIn is a power of two up to MaxOneIn; 1 is all. Objects that
// are followed already are so to their end.
func (s *Session) Sample(oneIn uint32) error {
	if !s.FollowsObjects() {
		return nil
	}
	m := s.objects[DetectorRefs].maps[mapSampling]
	var now samplingMasks
	if err := m.Lookup(uint32(0), &now); err != nil {
		return fmt.Errorf("asking how many objects are followed: %w", err)
	}
	made := oneIn - 1
	// What ends goes by the densest rate, and has to know of it before objects are
	// made by it.
	now.Gone = min(now.Gone, made)
	for _, masks := range []samplingMasks{now, {Made: made, Gone: now.Gone}} {
		if err := m.Put(uint32(0), masks); err != nil {
			return fmt.Errorf("changing how many objects are followed: %w", err)
		}
	}
	return nil
}
