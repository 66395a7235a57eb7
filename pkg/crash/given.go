// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"

	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/vmcore"
)

// givenSymbols reads the symbols of the kernel image from a file: System.map, what
// /proc/kallsyms was, or a vmlinux. They are moved to where the image was.
func givenSymbols(path string, info vmcore.Info) (*kernel.Symbols, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var begin [len(elf.ELFMAG)]byte
	if _, err := f.ReadAt(begin[:], 0); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	read := kernel.ReadSymbols
	if bytes.Equal(begin[:], []byte(elf.ELFMAG)) {
		read = func(io.Reader) (*kernel.Symbols, error) { return vmlinuxSymbols(f) }
	}
	linked, err := read(f)
	if err != nil {
		return nil, fmt.Errorf("reading the symbols of %s: %w", path, err)
	}
	s, err := moved(linked, info)
	if err != nil {
		return nil, fmt.Errorf("reading the symbols of %s: %w", path, err)
	}
	return s, nil
}

// moved gives the image's symbols the addresses that they had in the kernel that
// crashed. Modules were elsewhere when the file was made.
func moved(linked *kernel.Symbols, info vmcore.Info) (*kernel.Symbols, error) {
	begin := linked.Lookup("_stext")
	stext, ok := info.Symbol("_stext")
	if !ok || len(begin) == 0 {
		return nil, fmt.Errorf("%w: no symbol _stext, in the file or in the dump's VMCOREINFO", ErrNotUnderstood)
	}
	by := stext - begin[0].Addr
	return kernel.NewSymbols(func(yield func(kernel.Symbol) bool) {
		for s := range linked.All() {
			if s.Addr >= imageBase {
				s.Addr += by
			}
			if s.Module == "" && !yield(s) {
				return
			}
		}
	})
}

// vmlinuxSymbols reads the symbols of an ELF file, with the letters that nm has for them.
func vmlinuxSymbols(r io.ReaderAt) (*kernel.Symbols, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	list, err := f.Symbols()
	if err != nil {
		return nil, fmt.Errorf("%w (a vmlinux that was not stripped is wanted, such as a package of debug symbols has)", err)
	}
	return kernel.NewSymbols(func(yield func(kernel.Symbol) bool) {
		for _, s := range list {
			kind, ok := letter(f, s)
			if ok && !yield(kernel.Symbol{Name: s.Name, Addr: s.Value, Type: kind}) {
				return
			}
		}
	})
}

func letter(f *elf.File, s elf.Symbol) (byte, bool) {
	switch elf.ST_TYPE(s.Info) {
	case elf.STT_SECTION, elf.STT_FILE:
		return 0, false
	}
	kind := byte('d')
	switch {
	case s.Section == elf.SHN_UNDEF:
		return 0, false
	case s.Section == elf.SHN_ABS:
		kind = 'a'
	case int(s.Section) >= len(f.Sections):
		return 0, false
	case f.Sections[s.Section].Flags&elf.SHF_EXECINSTR != 0:
		kind = 't'
	case f.Sections[s.Section].Type == elf.SHT_NOBITS:
		kind = 'b'
	case f.Sections[s.Section].Flags&elf.SHF_WRITE == 0:
		kind = 'r'
	}
	if elf.ST_BIND(s.Info) != elf.STB_LOCAL {
		kind -= 'a' - 'A'
	}
	return kind, true
}
