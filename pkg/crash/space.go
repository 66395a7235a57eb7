// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/netns-trace/netns-trace/pkg/holders/memory"
	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/vmcore"
)

// Page tables of x86-64: an entry's address bits, and the bits that say that it is
// valid, and that it maps memory without a further table.
const (
	entryAddress = 0x000f_ffff_ffff_f000
	entryPresent = 1 << 0
	entryLarge   = 1 << 7
	pageShift    = 12
	tableBits    = 9
	tableEntries = 1 << tableBits
)

// imageBase is where the kernel image is mapped on x86-64, __START_KERNEL_map.
const imageBase = 0xffffffff80000000

// space is the kernel's memory by virtual addresses. It implements [memory.Reader].
type space struct {
	dump     *vmcore.Dump
	physBase uint64 // of imageBase
	image    vmcore.Range
	tables   uint64 // physical address of the kernel's page tables
	levels   int
	address  uint64 // the address bits of an entry
	segments []kernel.Segment
	cached   map[uint64]*[tableEntries]uint64
}

// newSpace makes what the kernel's note allows: the image, and what page tables map.
func newSpace(dump *vmcore.Dump) (*space, error) {
	info := dump.Info()
	base, okBase := info.Number("phys_base")
	tables, okTables := info.Symbol("swapper_pg_dir")
	if !okBase || !okTables {
		return nil, fmt.Errorf("%w: its VMCOREINFO has no phys_base or no swapper_pg_dir", ErrNotUnderstood)
	}
	s := &space{dump: dump, physBase: uint64(base), levels: 4, address: entryAddress, cached: make(map[uint64]*[tableEntries]uint64)}
	// The image's place has this size; modules follow.
	size := int64(512 << 20)
	if n, ok := info.Number("KERNEL_IMAGE_SIZE"); ok && n > 0 && n <= 1<<30 {
		size = n
	}
	s.image = vmcore.Range{Start: imageBase, Size: uint64(size)}
	if n, ok := info.Number("pgtable_l5_enabled"); ok && n != 0 {
		s.levels = 5
	}
	if mask, ok := info.Number("sme_mask"); ok {
		s.address &^= uint64(mask)
	}
	if tables-s.image.Start >= s.image.Size {
		return nil, fmt.Errorf("%w: the page tables are not in the kernel image", ErrNotUnderstood)
	}
	s.tables = tables - imageBase + s.physBase
	return s, nil
}

// Read implements [memory.Reader].
func (s *space) Read(b []byte, addr uint64) error {
	for len(b) > 0 {
		at, room, err := s.translate(addr)
		n := min(uint64(len(b)), room)
		if err == nil {
			err = s.dump.Read(b[:n], at)
		}
		if errors.Is(err, vmcore.ErrNotSaved) {
			err = fmt.Errorf("%w: %w", memory.ErrNotSaved, err)
		}
		if err != nil {
			return fmt.Errorf("reading kernel memory at %#x: %w", addr, err)
		}
		b, addr = b[n:], addr+n
	}
	return nil
}

// Segments implements [memory.Reader].
func (s *space) Segments() []kernel.Segment { return s.segments }

var errNotMapped = errors.New("no such address in it")

// translate returns the physical address of a virtual one, and how many bytes follow
// there together.
func (s *space) translate(addr uint64) (at, room uint64, err error) {
	if offset := addr - s.image.Start; offset < s.image.Size {
		return addr - imageBase + s.physBase, s.image.Size - offset, nil
	}
	if i := s.segmentOf(addr); i >= 0 {
		g := &s.segments[i]
		return addr - g.Addr + g.Physical, g.Size - (addr - g.Addr), nil
	}
	return s.walk(addr, 0)
}

// segmentOf is the number of the segment of memory as a whole that has an address, or -1.
func (s *space) segmentOf(addr uint64) int {
	i, exact := slices.BinarySearchFunc(s.segments, addr, func(g kernel.Segment, addr uint64) int { return cmp.Compare(g.Addr, addr) })
	if !exact {
		i--
	}
	if i < 0 || addr-s.segments[i].Addr >= s.segments[i].Size {
		return -1
	}
	return i
}

// walk goes through the page tables, down to a level: 0 is that of pages. What is found
// there that is another table is told as its address, with a room of 0. Where nothing is
// mapped, room is how far that goes at least.
func (s *space) walk(addr uint64, down int) (at, room uint64, err error) {
	table := s.tables
	for level := s.levels - 1; level >= down; level-- {
		shift := uint(pageShift + tableBits*level)
		entries, err := s.table(table)
		if err != nil {
			return 0, 0, err
		}
		entry := entries[addr>>shift&(tableEntries-1)]
		inside := uint64(1)<<shift - 1
		room = inside + 1 - addr&inside
		if entry&entryPresent == 0 {
			return 0, room, errNotMapped
		}
		table = entry & s.address
		if level == 0 || entry&entryLarge != 0 && level <= 2 {
			return table&^inside + addr&inside, room, nil
		}
	}
	return table, 0, nil
}

// maxTables bounds the page tables that are kept: 1 MiB.
const maxTables = 256

func (s *space) table(at uint64) (*[tableEntries]uint64, error) {
	if t := s.cached[at]; t != nil {
		return t, nil
	}
	var raw [tableEntries * 8]byte
	if err := s.dump.Read(raw[:], at); err != nil {
		return nil, err
	}
	t := new([tableEntries]uint64)
	for i := range t {
		t[i] = binary.LittleEndian.Uint64(raw[8*i:])
	}
	if len(s.cached) >= maxTables {
		clear(s.cached)
	}
	s.cached[at] = t
	return t, nil
}

// A large page is what the mapping of memory as a whole is made of: where a smaller one
// is left out of it, as those that guard KFENCE's are, there is memory all the same.
const largePage = 1 << (pageShift + tableBits)

// setSegments makes the segments that /proc/kcore would have: memory as a whole, which is
// mapped from base on, and the kernel image. A dump of QEMU has memory that the kernel
// does not know, such as the firmware's: what is not mapped is none.
func (s *space) setSegments(ctx context.Context, base uint64, image vmcore.Range) error {
	if base < 1<<63 || base > imageBase {
		return fmt.Errorf("%w: memory is mapped at %#x", ErrNotUnderstood, base)
	}
	var list []kernel.Segment
	for _, r := range s.dump.Memory() {
		for at, end := r.Start, min(r.Start+r.Size, imageBase-base); at < end; {
			if ctx.Err() != nil {
				return fmt.Errorf("finding the memory that is mapped: %w", ctx.Err())
			}
			mapped, room := s.isMapped(base + at)
			next := min(at+room, end)
			if last := len(list) - 1; !mapped {
			} else if last >= 0 && list[last].Physical+list[last].Size == at {
				list[last].Size += next - at
			} else {
				list = append(list, kernel.Segment{Addr: base + at, Size: next - at, Physical: at, PhysicalKnown: true})
			}
			at = next
		}
	}
	if len(list) == 0 {
		return fmt.Errorf("%w: no memory is mapped as a whole", ErrNotUnderstood)
	}
	s.segments = append(list, kernel.Segment{
		Addr: image.Start, Size: image.Size, Physical: image.Start - imageBase + s.physBase, PhysicalKnown: true,
	})
	s.image = image
	return nil
}

// isMapped reports whether the large page of an address is mapped, and how many bytes
// from it on are so too.
func (s *space) isMapped(addr uint64) (mapped bool, room uint64) {
	_, room, err := s.walk(addr, 1)
	if room == 0 { // smaller pages, or a table that was not saved
		room = largePage - addr%largePage
	}
	return !errors.Is(err, errNotMapped), room
}
