// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"encoding/binary"
	"fmt"

	"github.com/netns-trace/netns-trace/pkg/holders/structs"
)

// PageClass says what a page is used for, as far as it matters to who looks for
// pointers of the kernel.
type PageClass uint8

// The classes of pages. Only those from ReservedPage on can have the kernel's objects
// in them.
const (
	FreePage     PageClass = iota // nobody's
	UserPage                      // of a process, or of a file: it has no pointers of the kernel
	ReservedPage                  // of the kernel image, of the first per-CPU memory, of the boot
	SlabPage                      // of a slab cache
	KernelPage                    // else: a large kmalloc, a page of vmalloc, a stack, ...
	pageClasses
)

// String is the class in a word.
func (c PageClass) String() string {
	return [pageClasses]string{"free", "user", "reserved", "slab", "kernel"}[c]
}

// Worth reports whether a page of the class can have the kernel's objects in it.
func (c PageClass) Worth() bool { return c >= ReservedPage }

// pageLayout is where the fields of a struct page are, and what they mean.
type pageLayout struct {
	size                             uint64
	flags, head, mapping, count, typ uint32
	reserved, slab, lru, swapBacked  uint64 // masks of flags; slab is 0 from 6.10 on
	slabType, bigType                uint32 // page types, 0: there are none
}

func newPageLayout(types *structs.Set) (pageLayout, error) {
	var l pageLayout
	page, ok := types.Struct("page")
	if !ok {
		return l, fmt.Errorf("%w: no struct page", ErrLayout)
	}
	l.size = uint64(types.Size(page))
	if l.size < 32 || l.size > 256 {
		return l, fmt.Errorf("%w: a struct page of %d bytes", ErrLayout, l.size)
	}
	for name, at := range map[string]*uint32{
		"flags": &l.flags, "mapping": &l.mapping, "_refcount": &l.count, "_mapcount": &l.typ,
	} {
		f, ok := types.FieldOf(page, name)
		if !ok || uint64(f.Offset)+8 > l.size {
			return l, fmt.Errorf("%w: no field page.%s", ErrLayout, name)
		}
		*at = f.Offset
	}
	// Since 7.0 it may hold a mask instead of an address.
	head, ok := types.FieldOf(page, "compound_head")
	if !ok {
		if head, ok = types.FieldOf(page, "compound_info"); !ok {
			return l, fmt.Errorf("%w: no field page.compound_head", ErrLayout)
		}
	}
	if l.head = head.Offset; uint64(l.head)+8 > l.size {
		return l, fmt.Errorf("%w: no field page.compound_head", ErrLayout)
	}
	for name, mask := range map[string]*uint64{
		"PG_reserved": &l.reserved, "PG_slab": &l.slab, "PG_lru": &l.lru, "PG_swapbacked": &l.swapBacked,
	} {
		if bit, ok := types.EnumValue("pageflags", name); ok {
			*mask = 1 << bit
		}
	}
	l.slabType, _ = types.EnumValue("pagetype", "PGTY_slab")
	l.bigType, _ = types.EnumValue("pagetype", "PGTY_large_kmalloc")
	switch {
	case l.reserved == 0:
		return l, fmt.Errorf("%w: no page flag PG_reserved", ErrLayout)
	case l.slab == 0 && l.slabType == 0:
		return l, fmt.Errorf("%w: neither a page flag nor a page type for slabs", ErrLayout)
	}
	return l, nil
}

// classOf reads a struct page that is no tail.
func (l *pageLayout) classOf(page []byte) PageClass {
	le := binary.LittleEndian
	flags := le.Uint64(page[l.flags:])
	typ := le.Uint32(page[l.typ:]) >> 24
	switch {
	case flags&l.slab != 0, l.slabType != 0 && typ == l.slabType&0xff:
		return SlabPage
	case flags&l.reserved != 0:
		return ReservedPage
	case l.bigType != 0 && typ == l.bigType&0xff:
		// Without a count since 6.15, as a free page is.
		return KernelPage
	case le.Uint32(page[l.count:]) == 0:
		return FreePage
	case le.Uint64(page[l.mapping:]) != 0, flags&(l.lru|l.swapBacked) != 0:
		return UserPage
	}
	return KernelPage
}

// headOf is the address of the struct page of a compound page's head; it is at itself
// when the page is none or the head.
func (l *pageLayout) headOf(page []byte, at uint64) uint64 {
	v := binary.LittleEndian.Uint64(page[l.head:])
	switch {
	case v&1 == 0:
		return at
	case v>>63 == 1 && at-(v-1) < 1<<30: // an address, not far below
		return v - 1
	}
	return at & v &^ 1
}

// pageAt is the address of the struct page of an address of the mapping as a whole.
func (m *Memory) pageAt(addr uint64) uint64 {
	return m.pages + (addr-m.base)/PageSize*m.page.size
}

// addressOf is the address in the mapping as a whole of a struct page's page.
func (m *Memory) addressOf(page uint64) uint64 {
	return m.base + (page-m.pages)/m.page.size*PageSize
}

// Page is what is known of the page that an address is in.
type Page struct {
	Class PageClass
	Start uint64 // of the compound page, in the mapping as a whole
	Meta  uint64 // address of its struct page
}

// PageOf looks up the page that an address of the mapping as a whole is in.
func (m *Memory) PageOf(addr uint64) (Page, error) {
	if !m.InRAM(addr) {
		return Page{}, fmt.Errorf("%#x is not in the mapping of memory as a whole", addr)
	}
	at := m.pageAt(addr)
	raw := make([]byte, m.page.size)
	if err := m.Read(raw, at); err != nil {
		return Page{}, err
	}
	if head := m.page.headOf(raw, at); head != at {
		if err := m.Read(raw, head); err != nil {
			return Page{}, err
		}
		at = head
	}
	return Page{m.page.classOf(raw), m.addressOf(at), at}, nil
}

// CompoundEnd is where the memory of a large kmalloc ends that begins in the page of
// an address of the mapping as a whole.
func (m *Memory) CompoundEnd(addr uint64) (uint64, bool) {
	page, err := m.PageOf(addr)
	if err != nil {
		return 0, false
	}
	// Tails point at their head, so the end is where another head is.
	raw := make([]byte, m.page.size)
	const most = 1 << 10
	for n := uint64(1); n <= most; n++ {
		at := page.Meta + n*m.page.size
		if m.Read(raw, at) != nil || m.page.headOf(raw, at) != page.Meta {
			return page.Start + n*PageSize, true
		}
	}
	return 0, false
}
