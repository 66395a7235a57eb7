// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
)

const kallsymsPath = "/proc/kallsyms"

// Bounds on what one table may hold. A distribution kernel with every module
// loaded has about 300,000 symbols and 8 MiB of names; the input may come from
// elsewhere, so it is bounded far above that and far below harm.
const (
	maxSymbols    = 4 << 20
	maxNameBytes  = 128 << 20
	maxModuleList = math.MaxUint16
	// KSYM_NAME_LEN is 512 since 6.1; a line adds the
	// address, the type and a module name of at most 64 bytes.
	maxLine = 1024
)

// ErrSymbolsHidden is returned when the kernel shows address 0 for every
// symbol, so no address can be given a name.
var ErrSymbolsHidden = errors.New("kernel symbol addresses are hidden (all are 0): " +
	"with sysctl kernel.kptr_restrict at 0 or 1 the reader needs CAP_SYSLOG, at 2 nobody sees them")

// LoadSymbols reads /proc/kallsyms. The table is a snapshot: after a module is
// loaded or unloaded, load a new one (about 0.2 s of CPU, most of it the kernel
// printing the file) and drop the old. Returns an error wrapping
// ErrSymbolsHidden when this process may not see addresses.
func LoadSymbols() (*Symbols, error) {
	f, err := os.Open(kallsymsPath)
	if err != nil {
		return nil, fmt.Errorf("opening kernel symbols: %w", err)
	}
	defer f.Close()
	s, err := ReadSymbols(f)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", kallsymsPath, err)
	}
	return s, nil
}

// ReadSymbols reads a table in the format of /proc/kallsyms. Lines that are not
// of that format are left out and counted (Symbols.Malformed). Returns
// ErrSymbolsHidden when every address is 0, and an error when there is no
// symbol at all or more than the table's bounds allow.
func ReadSymbols(r io.Reader) (*Symbols, error) {
	const withoutModules = 1 << 17 // symbols of a kernel image
	return readSymbols(r, withoutModules)
}

// readSymbols starts with room for expect symbols.
func readSymbols(r io.Reader, expect int) (*Symbols, error) {
	b := newBuilder(expect)
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := br.ReadSlice('\n')
		tooLong := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = br.ReadSlice('\n')
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		// Even an overlong line is one line; what remains is not parsed.
		if len(line) > 0 || tooLong {
			if addErr := b.addLine(line, tooLong); addErr != nil {
				return nil, addErr
			}
		}
		if err == io.EOF {
			return b.finish()
		}
	}
}

// kallsymsLine is one parsed line; the slices point into the line.
type kallsymsLine struct {
	addr   uint64
	kind   byte
	name   []byte
	module []byte
}

// parseKallsymsLine takes "addr type name" with an optional tab and "[module]".
// The module is what stands between the first '[' after the name and the last
// ']', whatever characters that is: the kernel does not restrict them.
func parseKallsymsLine(line []byte) (kallsymsLine, bool) {
	line = bytes.TrimRight(line, "\r\n")
	var l kallsymsLine
	hex, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok || len(rest) < 3 || rest[1] != ' ' {
		return l, false
	}
	if l.addr, ok = parseHex(hex); !ok {
		return l, false
	}
	l.kind = rest[0]
	if l.kind <= ' ' || l.kind > '~' {
		return l, false
	}
	rest = rest[2:]
	end := bytes.IndexAny(rest, "\t ")
	if end < 0 {
		end = len(rest)
	}
	l.name = rest[:end]
	if len(l.name) == 0 || bytes.IndexByte(l.name, 0) >= 0 {
		return l, false
	}
	tail := bytes.TrimSpace(rest[end:])
	if len(tail) == 0 {
		return l, true
	}
	if len(tail) < 3 || tail[0] != '[' || tail[len(tail)-1] != ']' {
		return l, false
	}
	l.module = tail[1 : len(tail)-1]
	return l, true
}

// parseHex reads 1 to 16 hexadecimal digits. strconv needs a string, which
// would be an allocation for each of 200,000 lines.
func parseHex(s []byte) (uint64, bool) {
	if len(s) == 0 || len(s) > 16 {
		return 0, false
	}
	var v uint64
	for _, c := range s {
		var d byte
		switch {
		case c >= '0' && c <= '9':
			d = c - '0'
		case c >= 'a' && c <= 'f':
			d = c - 'a' + 10
		case c >= 'A' && c <= 'F':
			d = c - 'A' + 10
		default:
			return 0, false
		}
		v = v<<4 | uint64(d)
	}
	return v, true
}

// builder collects lines into the columns of a table.
type builder struct {
	s         Symbols
	moduleIDs map[string]uint16
	visible   bool
}

func newBuilder(expect int) *builder {
	return &builder{
		s: Symbols{
			addrs:   make([]uint64, 0, expect),
			nameOff: make([]uint32, 0, expect),
			kinds:   make([]byte, 0, expect),
			mods:    make([]uint16, 0, expect),
			names:   make([]byte, 0, expect*22),
			modules: []string{""},
		},
		moduleIDs: map[string]uint16{"": 0},
	}
}

func (b *builder) addLine(line []byte, tooLong bool) error {
	if tooLong || len(line) > maxLine {
		b.s.malformed++
		return nil
	}
	l, ok := parseKallsymsLine(line)
	if !ok {
		if len(bytes.TrimSpace(line)) > 0 {
			b.s.malformed++
		}
		return nil
	}
	return b.add(l)
}

// add takes one symbol; the slices are copied.
func (b *builder) add(l kallsymsLine) error {
	if len(b.s.addrs) >= maxSymbols || len(b.s.names)+len(l.name) >= maxNameBytes {
		return fmt.Errorf("more than %d symbols or %d bytes of names", maxSymbols, maxNameBytes)
	}
	id, known := b.moduleIDs[string(l.module)]
	if !known {
		if len(b.s.modules) > maxModuleList {
			return fmt.Errorf("more than %d modules", maxModuleList)
		}
		id = uint16(len(b.s.modules))
		name := strings.Clone(string(l.module))
		b.s.modules = append(b.s.modules, name)
		b.moduleIDs[name] = id
	}
	b.visible = b.visible || l.addr != 0
	b.s.addrs = append(b.s.addrs, l.addr)
	b.s.kinds = append(b.s.kinds, l.kind)
	b.s.mods = append(b.s.mods, id)
	b.s.nameOff = append(b.s.nameOff, uint32(len(b.s.names)))
	b.s.names = append(b.s.names, l.name...)
	b.s.names = append(b.s.names, 0)
	return nil
}

func (b *builder) finish() (*Symbols, error) {
	switch {
	case len(b.s.addrs) == 0:
		return nil, fmt.Errorf("no symbol found (%d lines of another format)", b.s.malformed)
	case !b.visible:
		return nil, ErrSymbolsHidden
	}
	s := b.s
	s.names = bytes.Clone(s.names) // appending left up to a quarter unused
	s.sortByAddress()
	s.indexNames()
	s.findImageBounds()
	return &s, nil
}
