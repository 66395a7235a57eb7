// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxSegments bounds the program headers that are read. The kernel lists one for
// each piece of memory: some tens.
const maxSegments = 4096

// Core is a kernel's memory in the form of an ELF core file: the running one's, or
// what was saved of one that crashed. It is safe for concurrent use.
type Core struct {
	file     io.ReaderAt
	closer   io.Closer
	machine  elf.Machine
	segments []Segment
}

// Segment is memory of a Core that lies together.
type Segment struct {
	// Addr is the virtual address that it begins at, Size how many bytes it has.
	Addr, Size uint64
	// Physical is the physical address, for what is mapped as it lies: memory as a
	// whole, and the kernel image.
	Physical      uint64
	PhysicalKnown bool

	offset uint64 // in the file
}

// OpenCore opens /proc/kcore, which takes CAP_SYS_RAWIO and a kernel that is not
// locked down for confidentiality. Where a container runtime has put nothing in its
// place it opens /host/proc/kcore. The caller closes it.
func OpenCore() (*Core, error) {
	f, err := openKcore(kcorePath, hostKcorePath)
	if err != nil {
		return nil, fmt.Errorf("opening the kernel's memory: %w", err)
	}
	c, err := ReadCore(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("reading the headers of %s: %w", f.Name(), err)
	}
	c.closer = f
	return c, nil
}

// Close closes the file, of which nothing is kept.
func (c *Core) Close() {
	if c.closer != nil {
		c.closer.Close()
	}
}

// ReadCore reads the headers of an ELF core file, and the memory when it is asked
// for.
func ReadCore(r io.ReaderAt) (*Core, error) {
	var h [64]byte
	if _, err := r.ReadAt(h[:], 0); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if string(h[:4]) != elf.ELFMAG || elf.Class(h[elf.EI_CLASS]) != elf.ELFCLASS64 ||
		elf.Data(h[elf.EI_DATA]) != elf.ELFDATA2LSB {
		return nil, errors.New("not a little-endian ELF file of 64 bits")
	}
	const headerSize = 56
	at, size, n := le.Uint64(h[32:]), le.Uint16(h[54:]), int(le.Uint16(h[56:]))
	if size != headerSize || n > maxSegments || at > 1<<32 {
		return nil, fmt.Errorf("%d program headers of %d bytes at %#x", n, size, at)
	}
	table := make([]byte, n*headerSize)
	if _, err := r.ReadAt(table, int64(at)); err != nil {
		return nil, fmt.Errorf("reading program headers: %w", err)
	}
	c := &Core{file: r, machine: elf.Machine(le.Uint16(h[18:]))}
	for ; len(table) >= headerSize; table = table[headerSize:] {
		s := Segment{
			Addr: le.Uint64(table[16:]), Size: le.Uint64(table[32:]), Physical: le.Uint64(table[24:]),
			offset: le.Uint64(table[8:]),
		}
		// Linux writes all ones for what is not mapped as it lies.
		s.PhysicalKnown = s.Physical != ^uint64(0)
		if elf.ProgType(le.Uint32(table)) == elf.PT_LOAD && s.offset < 1<<62 && s.Size < 1<<62 {
			c.segments = append(c.segments, s)
		}
	}
	return c, nil
}

// Machine is the processor that the memory is of.
func (c *Core) Machine() elf.Machine { return c.machine }

// Segments are the pieces of memory that the file has, in its order. The slice is
// shared: do not change it.
func (c *Core) Segments() []Segment { return c.segments }

// Read fills b with the memory at a virtual address. Returns an error when it cannot
// fill all of it.
func (c *Core) Read(b []byte, addr uint64) error {
	for _, s := range c.segments {
		if addr < s.Addr || addr-s.Addr >= s.Size || uint64(len(b)) > s.Size-(addr-s.Addr) {
			continue
		}
		if n, err := c.file.ReadAt(b, int64(s.offset+addr-s.Addr)); n < len(b) {
			return fmt.Errorf("reading kernel memory at %#x: %w", addr, err)
		}
		return nil
	}
	return fmt.Errorf("reading kernel memory at %#x: no such address in it", addr)
}
