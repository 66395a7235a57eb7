// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/vmcore"
)

// The kernel's own table of its symbols (kernel/kallsyms.c): names are runs of numbers,
// each of which stands for a token of several letters.
const (
	tokens       = 256
	maxToken     = 512
	maxImageName = 1024
	maxImage     = 1 << 22 // symbols
)

// encoding is how the table has addresses.
type encoding uint8

const (
	// fromPlace: what is to be added to the place of the number itself (a081b5789255).
	fromPlace encoding = iota
	// fromBase: what is to be added to kallsyms_relative_base.
	fromBase
	// fromBaseBelow: the same for a negative number, less 1; others are addresses of
	// per-CPU memory. It was CONFIG_KALLSYMS_ABSOLUTE_PERCPU, which 6.12 has.
	fromBaseBelow
	encodings
)

// imageTable is that table in a crashed kernel's memory.
type imageTable struct {
	read     func(b []byte, addr uint64) error
	count    uint32
	names    uint64
	offsets  uint64
	base     uint64
	token    [tokens]string
	encoding encoding
}

// findImageTable finds the table by what the kernel noted, since 6.0.
func findImageTable(read func(b []byte, addr uint64) error, info vmcore.Info) (*imageTable, error) {
	t := &imageTable{read: read}
	var count, tokenTable, tokenIndex uint64
	for name, to := range map[string]*uint64{
		"kallsyms_names": &t.names, "kallsyms_num_syms": &count, "kallsyms_token_table": &tokenTable,
		"kallsyms_token_index": &tokenIndex, "kallsyms_offsets": &t.offsets,
	} {
		var ok bool
		if *to, ok = info.Symbol(name); !ok {
			return nil, ErrNoSymbols
		}
	}
	var err error
	if t.count, err = uint32At(read, count); err != nil {
		return nil, err
	}
	if t.count == 0 || t.count > maxImage {
		return nil, fmt.Errorf("%w: a table of %d symbols", ErrNotUnderstood, t.count)
	}
	if err := t.readTokens(tokenTable, tokenIndex); err != nil {
		return nil, err
	}
	if base, ok := info.Symbol("kallsyms_relative_base"); ok {
		if t.base, err = uint64At(read, base); err != nil {
			return nil, err
		}
	}
	return t, t.findEncoding(info)
}

// findEncoding tries which of them gives symbols the addresses that the kernel noted.
func (t *imageTable) findEncoding(info vmcore.Info) error {
	noted, right := 0, [encodings]int{}
	err := t.each(func(s imageSymbol) bool {
		at, ok := info.Symbol(s.name)
		if !ok {
			return true
		}
		noted++
		for e := range encodings {
			if t.address(s, e) == at {
				right[e]++
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	for t.encoding = range encodings {
		// Not all: of some, such as mem_section, the note has what they point at.
		if 2*right[t.encoding] > noted {
			return nil
		}
	}
	return fmt.Errorf("%w: its %d symbols are not where VMCOREINFO says", ErrNotUnderstood, t.count)
}

func (t *imageTable) readTokens(table, index uint64) error {
	var raw [2 * tokens]byte
	if err := t.read(raw[:], index); err != nil {
		return fmt.Errorf("reading the table of symbols: %w", err)
	}
	for i := range t.token {
		at := table + uint64(binary.LittleEndian.Uint16(raw[2*i:]))
		text, err := readText(t.read, at, maxToken)
		if err != nil {
			return fmt.Errorf("reading the table of symbols: %w", err)
		}
		t.token[i] = text
	}
	return nil
}

// imageSymbol is an entry of the table.
type imageSymbol struct {
	kind   byte
	name   string
	place  uint64 // of its number
	number uint32
}

// address is where a symbol is.
func (t *imageTable) address(s imageSymbol, e encoding) uint64 {
	signed := uint64(int64(int32(s.number)))
	switch {
	case e == fromPlace:
		return s.place + signed
	case e == fromBase:
		return t.base + uint64(s.number)
	case int32(s.number) < 0:
		return t.base - 1 - signed
	}
	return uint64(s.number)
}

// symbols reads all symbols.
func (t *imageTable) symbols() (*kernel.Symbols, error) {
	var failed error
	s, err := kernel.NewSymbols(func(yield func(kernel.Symbol) bool) {
		failed = t.each(func(s imageSymbol) bool {
			return yield(kernel.Symbol{Name: s.name, Addr: t.address(s, t.encoding), Type: s.kind})
		})
	})
	if failed != nil {
		return nil, failed
	}
	return s, err
}

// each goes through the table until see returns false.
func (t *imageTable) each(see func(imageSymbol) bool) error {
	names := bufio.NewReader(&stream{t.read, t.names})
	numbers := bufio.NewReader(&stream{t.read, t.offsets})
	name := make([]byte, 0, maxImageName)
	for i := range t.count {
		var err error
		if name, err = t.readName(names, name[:0]); err != nil {
			return fmt.Errorf("reading the table of symbols: %w", err)
		}
		var raw [4]byte
		if _, err := io.ReadFull(numbers, raw[:]); err != nil {
			return fmt.Errorf("reading the table of symbols: %w", err)
		}
		if len(name) < 2 {
			continue
		}
		// The first letter is the symbol's type.
		s := imageSymbol{name[0], string(name[1:]), t.offsets + 4*uint64(i), binary.LittleEndian.Uint32(raw[:])}
		if !see(s) {
			return nil
		}
	}
	return nil
}

// readName appends the next entry of the names.
func (t *imageTable) readName(in *bufio.Reader, name []byte) ([]byte, error) {
	n, err := in.ReadByte()
	length := int(n)
	if err == nil && n&0x80 != 0 { // since 6.1 a name may take more than 127 tokens
		n, err = in.ReadByte()
		length = length&0x7f | int(n)<<7
	}
	for i := 0; i < length && err == nil; i++ {
		if n, err = in.ReadByte(); err == nil {
			name = append(name, t.token[n]...)
		}
		if len(name) > maxImageName {
			return nil, fmt.Errorf("%w: a symbol's name of more than %d bytes", ErrNotUnderstood, maxImageName)
		}
	}
	return name, err
}

// stream reads memory from an address on, not beyond the end of a page at once.
type stream struct {
	read func(b []byte, addr uint64) error
	at   uint64
}

func (s *stream) Read(b []byte) (int, error) {
	n := min(uint64(len(b)), vmcore.PageSize-s.at%vmcore.PageSize)
	if err := s.read(b[:n], s.at); err != nil {
		return 0, err
	}
	s.at += n
	return int(n), nil
}

func uint32At(read func(b []byte, addr uint64) error, addr uint64) (uint32, error) {
	var b [4]byte
	err := read(b[:], addr)
	return binary.LittleEndian.Uint32(b[:]), err
}

func uint64At(read func(b []byte, addr uint64) error, addr uint64) (uint64, error) {
	var b [8]byte
	err := read(b[:], addr)
	return binary.LittleEndian.Uint64(b[:]), err
}

// readText reads a string that ends with a zero byte, at most limit bytes of it.
func readText(read func(b []byte, addr uint64) error, addr uint64, limit int) (string, error) {
	in := bufio.NewReaderSize(&stream{read, addr}, 64)
	text := make([]byte, 0, 32)
	for len(text) < limit {
		c, err := in.ReadByte()
		if err != nil {
			return "", err
		}
		if c == 0 {
			break
		}
		text = append(text, c)
	}
	return string(text), nil
}
