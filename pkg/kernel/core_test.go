// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
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

// In a container /proc/kcore is /dev/null, and the host's may be mounted elsewhere.
func TestMaskedMemoryIsLookedForWhereTheHostsIs(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	whole, other, text, gone := file("kcore", elf.ELFMAG), file("host", elf.ELFMAG), file("text", "text"), filepath.Join(dir, "gone")
	for _, tc := range []struct {
		name, path, host string
		want             string // the path that is opened
		wantErr          string
	}{
		{name: "on a host", path: whole, host: other, want: whole},
		{name: "masked", path: os.DevNull, host: other, want: other},
		{name: "masked, and the host's is not mounted", path: os.DevNull, host: gone, wantErr: "mount the host's at /host/proc/kcore"},
		{name: "both masked", path: os.DevNull, host: os.DevNull, wantErr: "there is nothing in it"},
		{name: "masked, and something else is mounted", path: os.DevNull, host: text, wantErr: "text: it is no ELF file"},
		{name: "a kernel without it", path: gone, host: other, wantErr: "no such file"},
	} {
		f, err := openKcore(tc.path, tc.host)
		if err != nil {
			if tc.wantErr == "" || !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("%s: %v, want %q", tc.name, err, tc.wantErr)
			}
			continue
		}
		if f.Name() != tc.want {
			t.Errorf("%s: opened %s, want %q", tc.name, f.Name(), tc.want)
		}
		f.Close()
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
