// SPDX-License-Identifier: Apache-2.0

package refsite

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

const kcorePath = "/proc/kcore"

// maxSegments bounds the program headers that are read. The kernel lists one for
// each piece of memory: some tens.
const maxSegments = 4096

// Kcore is the running kernel's memory, in the form of an ELF core file. It is a
// [Text].
type Kcore struct {
	file     io.ReaderAt
	closer   io.Closer
	segments []segment
}

// segment is memory of the file.
type segment struct{ addr, offset, size uint64 }

// OpenKcore opens /proc/kcore, which takes CAP_SYS_RAWIO and a kernel that is not
// locked down for confidentiality. Returns an error wrapping [ErrArchitecture] on
// machines other than x86-64. The caller closes it.
func OpenKcore() (*Kcore, error) {
	f, err := os.Open(kcorePath)
	if err != nil {
		return nil, fmt.Errorf("opening the kernel's memory: %w", err)
	}
	k, err := readCore(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("reading the headers of %s: %w", kcorePath, err)
	}
	k.closer = f
	return k, nil
}

// Close closes the file, of which nothing is kept.
func (k *Kcore) Close() {
	if k.closer != nil {
		k.closer.Close()
	}
}

// readCore reads the headers of an ELF core file.
func readCore(r io.ReaderAt) (*Kcore, error) {
	var h [64]byte
	if _, err := r.ReadAt(h[:], 0); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if string(h[:4]) != elf.ELFMAG || elf.Class(h[elf.EI_CLASS]) != elf.ELFCLASS64 ||
		elf.Data(h[elf.EI_DATA]) != elf.ELFDATA2LSB {
		return nil, errors.New("not a little-endian ELF file of 64 bits")
	}
	if machine := elf.Machine(le.Uint16(h[18:])); machine != elf.EM_X86_64 {
		return nil, fmt.Errorf("%w, not %s", ErrArchitecture, machine)
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
	k := &Kcore{file: r}
	for ; len(table) >= headerSize; table = table[headerSize:] {
		s := segment{addr: le.Uint64(table[16:]), offset: le.Uint64(table[8:]), size: le.Uint64(table[32:])}
		if elf.ProgType(le.Uint32(table)) == elf.PT_LOAD && s.offset < 1<<62 && s.size < 1<<62 {
			k.segments = append(k.segments, s)
		}
	}
	return k, nil
}

// ReadText implements [Text].
func (k *Kcore) ReadText(b []byte, addr uint64) error {
	for _, s := range k.segments {
		if addr < s.addr || addr-s.addr >= s.size || uint64(len(b)) > s.size-(addr-s.addr) {
			continue
		}
		if n, err := k.file.ReadAt(b, int64(s.offset+addr-s.addr)); n < len(b) {
			return fmt.Errorf("reading kernel memory at %#x: %w", addr, err)
		}
		return nil
	}
	return fmt.Errorf("reading kernel memory at %#x: no such address in it", addr)
}
