// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"encoding/binary"

	"github.com/netns-trace/netns-trace/pkg/holders/structs"
)

// How much more likely a field's value makes it that a struct is of a type, as a
// logarithm. They are estimates, set by hand until the objects of healthy devices came
// out right, and not fitted to a measurement. What a struct is decided by is their sum,
// since most fields of most structs are 0 and say nothing.
const (
	textHit, textMiss          = 5, -6
	linkHit, linkEmpty         = 6, 5
	linkPoison, linkMiss       = 4, -6
	countHit, countMiss        = 2, -5
	netHit, netMiss            = 6, -6
	deviceHit, deviceMiss      = 4, -6
	ownCacheHit, objectHit     = 5, 2
	mappedHit, objectMiss      = 0.5, -3
	pointerMiss, lowMiss       = -5, -3
	stringHit, stringMiss      = 1, -4
	boolHit, boolMiss          = 0.2, -4
	enumHit, enumMiss          = 0.2, -2
	lockHit, lockMiss          = 0.1, -1
	sizeFits, sizeDoesNot      = 1.5, -1
	reachedHit                 = 8
	listPoison1, listPoison2   = 0xdead000000000100, 0xdead000000000122
	minPointer, largestRefs    = 1 << 63, 65535
	printableWanted, errValues = 2, 4095
)

// scorer weighs what a struct in memory may be.
type scorer struct {
	*Kernel
	devices map[uint64]*Device
	// reached are types of objects that typed pointers of known objects lead to.
	reached map[uint64]structs.Type
}

func newScorer(k *Kernel, devices map[uint64]*Device) *scorer {
	return &scorer{Kernel: k, devices: devices, reached: make(map[uint64]structs.Type)}
}

// score is how likely it is that a struct of the type is at addr. The field at skip,
// in bytes from addr, is that which was found, and says nothing more. enough is false
// when memory cannot be read.
func (s *scorer) score(t structs.Type, addr uint64, skip uint32) (sum float64, ok bool) {
	raw := make([]byte, s.types.Size(t))
	if s.memory.Read(raw, addr) != nil {
		return 0, false
	}
	for _, l := range s.leavesOf(t) {
		if l.Offset == skip || int(l.Offset+max(l.Size, 8)) > len(raw)+8 || int(l.Offset+l.Size) > len(raw) {
			continue
		}
		sum += s.weigh(l, addr+uint64(l.Offset), raw[l.Offset:])
	}
	return sum, true
}

// weigh looks at one field: raw is what is at addr.
func (s *scorer) weigh(l structs.Leaf, addr uint64, raw []byte) float64 {
	le := binary.LittleEndian
	switch l.Kind {
	case structs.Bool:
		return either(raw[0] <= 1, boolHit, boolMiss)
	case structs.RefCount:
		n := le.Uint32(raw)
		return either(n >= 1 && n <= largestRefs, countHit, countMiss)
	case structs.Enum:
		if l.Size == 4 && l.Target != (structs.Type{}) {
			return either(s.types.HasConstant(l.Target, le.Uint32(raw)), enumHit, enumMiss)
		}
		return 0
	case structs.SpinLock:
		const lockedAndWaiters = 1 << 20
		return either(le.Uint32(raw) < lockedAndWaiters, lockHit, lockMiss)
	case structs.Scalar:
		return 0
	}
	v := le.Uint64(raw)
	switch l.Kind {
	case structs.ListHead:
		return s.weighList(addr, v, le.Uint64(raw[8:]))
	case structs.HlistNode:
		return s.weighHlist(addr, v, le.Uint64(raw[8:]))
	}
	if v == 0 {
		return 0
	}
	if v < minPointer || v >= ^uint64(errValues) {
		// A pointer to void may be a number, one to per-CPU memory is an offset.
		if l.Kind == structs.OtherPtr {
			return 0
		}
		_, err := s.memory.Uint64(s.memory.CPUs(v)[0])
		return either(err == nil && v < ^uint64(errValues), 0, lowMiss)
	}
	switch l.Kind {
	case structs.FuncPtr:
		return either(s.isText(v), textHit, textMiss)
	case structs.CharPtr:
		text, err := s.memory.Text(v, 64)
		if err != nil {
			return stringMiss
		}
		return either(len(text) >= printableWanted && printable(text), stringHit, 0)
	case structs.StructPtr:
		return s.weighPointer(l.Target, v)
	}
	return 0
}

func either(ok bool, yes, no float64) float64 {
	if ok {
		return yes
	}
	return no
}

// weighList checks that the neighbours in a list link back.
func (s *scorer) weighList(addr, next, prev uint64) float64 {
	switch {
	case next == 0 && prev == 0:
		return 0
	case next == addr && prev == addr:
		return linkEmpty
	case prev == listPoison2:
		return linkPoison
	case next < minPointer || prev < minPointer:
		return linkMiss
	}
	back, errBack := s.memory.Uint64(next + 8)
	forth, errForth := s.memory.Uint64(prev)
	return either(errBack == nil && errForth == nil && back == addr && forth == addr, linkHit, linkMiss)
}

func (s *scorer) weighHlist(addr, next, pprev uint64) float64 {
	switch {
	case next == 0 && pprev == 0:
		return 0
	case pprev == listPoison2:
		return linkPoison
	case pprev < minPointer:
		return linkMiss
	}
	back, err := s.memory.Uint64(pprev)
	return either(err == nil && back == addr, linkHit, linkMiss)
}

// weighPointer checks where a pointer to a struct of a type points.
func (s *scorer) weighPointer(target structs.Type, v uint64) float64 {
	switch name := s.types.Name(target); {
	case v%4 != 0:
		return pointerMiss
	case name == "net":
		return either(s.isNet(v), netHit, netMiss)
	case name == "net_device":
		return either(s.devices[v] != nil, deviceHit, deviceMiss)
	case !s.memory.InRAM(v):
		if _, err := s.memory.Uint64(v); err != nil {
			return pointerMiss
		}
		return mappedHit
	default:
		object, ok := s.memory.ObjectAt(v)
		if !ok {
			page, err := s.memory.PageOf(v)
			return either(err == nil && page.Class.Worth(), mappedHit, objectMiss)
		}
		room := object.Start + uint64(object.Cache.ObjectSize) - v
		switch {
		case object.Free, uint64(s.types.Size(target)) > room:
			return objectMiss
		case object.Start == v && object.Cache.Name == name && !object.Cache.Merged:
			return ownCacheHit
		}
		return objectHit
	}
}
