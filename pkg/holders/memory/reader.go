// SPDX-License-Identifier: Apache-2.0

// Package memory knows how a Linux kernel uses its memory: which pages have what,
// which slab object an address is in and whether it is free, and where a word is.
// It reads only, through [Reader], and so a saved memory as well as a running one.
package memory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/netns-trace/netns-trace/pkg/holders/structs"
	"github.com/netns-trace/netns-trace/pkg/kernel"
)

// PageSize is the size of a page on x86-64, the one machine that is understood.
const PageSize = 4096

// Reader is a kernel's memory.
type Reader interface {
	// Read fills b with what is at a virtual address. Of a saved memory it returns an
	// error wrapping [ErrNotSaved] where there was memory, and it was not saved.
	Read(b []byte, addr uint64) error
	// Segments are what can be read.
	Segments() []kernel.Segment
}

// Symbols are addresses of the kernel's variables.
type Symbols interface {
	// Address returns where a variable of the kernel image is.
	Address(name string) (uint64, bool)
}

// ErrLayout says that memory is not laid out as this package knows it.
var ErrLayout = errors.New("the kernel's memory is not laid out as expected")

// ErrNotSaved says that memory was there, and is not among what was saved.
var ErrNotSaved = errors.New("the memory was not saved")

// Memory is a kernel's memory and how to find things in it. It is not safe for
// concurrent use. What is read is kept for a while: see [Memory.Forget].
type Memory struct {
	reader Reader
	types  *structs.Set
	cache  cache

	ram    []kernel.Segment // what is mapped as a whole, by address
	image  kernel.Segment   // the kernel image
	base   uint64           // virtual less physical address, of ram
	pages  uint64           // where the struct pages begin
	page   pageLayout
	slab   slabLayout
	kfence kfence
	caches map[uint64]*Cache
	cpus   []uint64 // what is to be added to a per-CPU address, of each CPU
	nodes  uint64   // of memory
	tables uint64   // the kernel's page tables; 0: not known
	zeroed bool     // objects are, when they are given out: init_on_alloc
}

// New finds out how the memory is laid out.
func New(r Reader, types *structs.Set, symbols Symbols) (*Memory, error) {
	m := &Memory{reader: r, types: types, caches: make(map[uint64]*Cache)}
	m.cache.reader = r
	const imageBase = 0xffffffff80000000
	for _, s := range r.Segments() {
		switch {
		case !s.PhysicalKnown:
		case s.Addr >= imageBase:
			m.image = s
		case m.base == 0:
			m.base = s.Addr - s.Physical
			fallthrough
		case s.Addr-s.Physical == m.base:
			m.ram = append(m.ram, s)
		}
	}
	if len(m.ram) == 0 {
		return nil, fmt.Errorf("%w: no memory is mapped as a whole", ErrLayout)
	}
	pages, ok := symbols.Address("vmemmap_base")
	if !ok {
		return nil, fmt.Errorf("%w: no symbol vmemmap_base", ErrLayout)
	}
	var err error
	if m.pages, err = m.Uint64(pages); err != nil {
		return nil, err
	}
	if m.page, err = newPageLayout(types); err != nil {
		return nil, err
	}
	if m.slab, err = newSlabLayout(types); err != nil {
		return nil, err
	}
	m.tables, _ = symbols.Address("init_top_pgt")
	if at, ok := symbols.Address("init_on_alloc"); ok { // a static key, which begins with its count
		enabled, err := m.Uint32(at)
		m.zeroed = err == nil && enabled > 0
	}
	m.findKfence(symbols)
	m.nodes = 1
	if at, ok := symbols.Address("nr_node_ids"); ok {
		const most = 1024 // MAX_NUMNODES of any kernel
		if n, err := m.Uint32(at); err == nil && n <= most {
			m.nodes = uint64(n)
		}
	}
	return m, m.findCPUs(symbols)
}

func (m *Memory) findCPUs(symbols Symbols) error {
	offsets, ok := symbols.Address("__per_cpu_offset")
	if !ok {
		return fmt.Errorf("%w: no symbol __per_cpu_offset", ErrLayout)
	}
	n, err := m.countCPUs(symbols)
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("%w: no processors", ErrLayout)
	}
	const most = 8192 // NR_CPUS of any kernel
	for cpu := range min(n, most) {
		at, err := m.Uint64(offsets + 8*cpu)
		if err != nil {
			return err
		}
		m.cpus = append(m.cpus, at)
	}
	return nil
}

// countCPUs is how many processors there may be. A kernel whose number of them was fixed
// when it was built (CONFIG_FORCE_NR_CPUS) has no variable of it.
func (m *Memory) countCPUs(symbols Symbols) (uint64, error) {
	if at, ok := symbols.Address("nr_cpu_ids"); ok {
		n, err := m.Uint32(at)
		return uint64(n), err
	}
	at, ok := symbols.Address("__cpu_possible_mask")
	t, okType := m.types.Struct("cpumask")
	if !ok || !okType {
		return 0, fmt.Errorf("%w: neither symbol nr_cpu_ids nor __cpu_possible_mask", ErrLayout)
	}
	n := uint64(0)
	for word := range uint64(m.types.Size(t)) / 8 {
		v, err := m.Uint64(at + 8*word)
		if err != nil {
			return 0, err
		}
		if v != 0 {
			n = 64*word + uint64(bits.Len64(v))
		}
	}
	return n, nil
}

// Types are the types of what is in the memory.
func (m *Memory) Types() *structs.Set { return m.types }

// CPUs returns where a per-CPU variable is, of each CPU.
func (m *Memory) CPUs(variable uint64) []uint64 {
	list := make([]uint64, len(m.cpus))
	for i, offset := range m.cpus {
		list[i] = variable + offset
	}
	return list
}

// Read fills b with what is at addr.
func (m *Memory) Read(b []byte, addr uint64) error { return m.cache.read(b, addr) }

// Forget has everything read anew: memory changes.
func (m *Memory) Forget() {
	m.cache.forget()
	for _, c := range m.caches {
		c.free = nil
	}
}

// Uint64 reads a word, such as a pointer.
func (m *Memory) Uint64(addr uint64) (uint64, error) {
	var b [8]byte
	err := m.Read(b[:], addr)
	return binary.LittleEndian.Uint64(b[:]), err
}

// Uint32 reads 4 bytes.
func (m *Memory) Uint32(addr uint64) (uint32, error) {
	var b [4]byte
	err := m.Read(b[:], addr)
	return binary.LittleEndian.Uint32(b[:]), err
}

// Value reads a number field of a struct at addr: of 1, 2, 4 or 8 bytes, or bits.
func (m *Memory) Value(addr uint64, f structs.Field) (uint64, error) {
	var b [8]byte
	if f.Size == 0 || f.Size > 8 {
		return 0, fmt.Errorf("a field of %d bytes is no number", f.Size)
	}
	if err := m.Read(b[:f.Size], addr+uint64(f.Offset)); err != nil {
		return 0, err
	}
	v := binary.LittleEndian.Uint64(b[:])
	if f.Bits > 0 {
		v = v >> f.Shift & (1<<f.Bits - 1)
	}
	return v, nil
}

// Text reads a string that ends with a zero byte, at most max bytes of it.
func (m *Memory) Text(addr uint64, max int) (string, error) {
	b := make([]byte, 0, 32)
	for len(b) < max {
		var c [1]byte
		if err := m.Read(c[:], addr+uint64(len(b))); err != nil {
			return "", err
		}
		if c[0] == 0 {
			break
		}
		b = append(b, c[0])
	}
	return string(b), nil
}

// InRAM reports whether an address is in the mapping of memory as a whole.
func (m *Memory) InRAM(addr uint64) bool {
	for _, s := range m.ram {
		if addr >= s.Addr && addr-s.Addr < s.Size {
			return true
		}
	}
	return false
}

// InImage reports whether an address is in the kernel image.
func (m *Memory) InImage(addr uint64) bool { return addr-m.image.Addr < m.image.Size }

// Image returns the kernel image's own address of an address in the mapping of memory
// as a whole.
func (m *Memory) Image(addr uint64) (uint64, bool) {
	offset := addr - m.base - m.image.Physical
	return m.image.Addr + offset, offset < m.image.Size
}

// Size is how much memory there is, in bytes.
func (m *Memory) Size() uint64 {
	var n uint64
	for _, s := range m.ram {
		n += s.Size
	}
	return n
}
