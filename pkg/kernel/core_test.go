// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"testing"
)

// core makes an ELF core file with one piece of memory.
func core(machine elf.Machine, addr uint64, memory []byte) []byte {
	const at = 64 + 56
	b := make([]byte, at, at+len(memory))
	le := binary.LittleEndian
	copy(b, elf.ELFMAG)
	b[elf.EI_CLASS], b[elf.EI_DATA] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB)
	le.PutUint16(b[16:], uint16(elf.ET_CORE))
	le.PutUint16(b[18:], uint16(machine))
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	le.PutUint32(b[64:], uint32(elf.PT_LOAD))
	le.PutUint64(b[64+8:], at)
	le.PutUint64(b[64+16:], addr)
	le.PutUint64(b[64+32:], uint64(len(memory)))
	return append(b, memory...)
}

func TestKernelMemoryIsReadByAddress(t *testing.T) {
	const base = 0xffffffff81000000
	k, err := ReadCore(bytes.NewReader(core(elf.EM_X86_64, base, []byte("0123456789"))))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		what string
		addr uint64
		size int
		want string // empty: an error
	}{
		{"start", base, 4, "0123"},
		{"to the end", base + 6, 4, "6789"},
		{"beyond the end", base + 7, 4, ""},
		{"before the start", base - 1, 4, ""},
		{"far away", 0, 4, ""},
	} {
		b := make([]byte, tc.size)
		err := k.Read(b, tc.addr)
		if (err == nil) != (tc.want != "") || err == nil && string(b) != tc.want {
			t.Errorf("%s: read %q, %v, want %q", tc.what, b, err, tc.want)
		}
	}
}

func TestMemoryOfAnotherProcessorSaysSo(t *testing.T) {
	c, err := ReadCore(bytes.NewReader(core(elf.EM_AARCH64, 0xffff800008000000, []byte("text"))))
	if err != nil || c.Machine() != elf.EM_AARCH64 {
		t.Errorf("core of arm64: %v, %v", c, err)
	}
}

func FuzzReadCore(f *testing.F) {
	f.Add(core(elf.EM_X86_64, 0xffffffff81000000, []byte("text")))
	f.Fuzz(func(t *testing.T, file []byte) {
		k, err := ReadCore(bytes.NewReader(file))
		if err != nil {
			return
		}
		b := make([]byte, 16)
		for _, s := range k.Segments() {
			if err := k.Read(b, s.Addr); err == nil && s.offset > uint64(len(file)) {
				t.Errorf("read %q from offset %d of a file of %d bytes", b, s.offset, len(file))
			}
		}
	})
}
