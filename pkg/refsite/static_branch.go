// SPDX-License-Identifier: Apache-2.0

package refsite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/netns-trace/netns-trace/pkg/kernel"
)

// staticBranches reads where the static branches of the running kernel lead. A module's
// are read when it is asked for the first time.
type staticBranches struct {
	core    Text
	symbols *kernel.Symbols
	types   *kernel.Types
	targets map[string][]uint64 // by module, in order; no entry: not read yet; nil: not known
}

// into says whether a static branch of the module may lead to (start, end].
func (b *staticBranches) into(module string, start, end uint64) bool {
	targets, asked := b.targets[module]
	if !asked {
		var err error
		if targets, err = b.read(module); err != nil {
			targets = nil
		}
		if b.targets == nil {
			b.targets = make(map[string][]uint64)
		}
		b.targets[module] = targets
	}
	if targets == nil {
		return true
	}
	first, _ := slices.BinarySearch(targets, start+1)
	return first < len(targets) && targets[first] <= end
}

// jumpEntrySize is the size of struct jump_entry: two offsets of 32 bits, each from its own
// address, of the branch and of its target, and the key (4.19 and later on x86-64).
const jumpEntrySize = 16

// maxJumpEntries bounds what is read. Debian's 6.12 has 7,000 in the kernel image.
const maxJumpEntries = 1 << 17

func (b *staticBranches) read(module string) ([]uint64, error) {
	start, count, err := b.table(module)
	if err != nil {
		return nil, err
	}
	if count == 0 {
		return []uint64{}, nil
	}
	if count > maxJumpEntries {
		return nil, fmt.Errorf("the jump table of %q has %d entries", module, count)
	}
	table := make([]byte, count*jumpEntrySize)
	if err := b.core.ReadText(table, start); err != nil {
		return nil, fmt.Errorf("reading the jump table of %q: %w", module, err)
	}
	return jumpTargets(table, start), nil
}

// jumpTargets returns the targets in a jump table that is at address start.
func jumpTargets(table []byte, start uint64) []uint64 {
	targets := make([]uint64, 0, len(table)/jumpEntrySize)
	for at := 0; at+jumpEntrySize <= len(table); at += jumpEntrySize {
		offset := int32(binary.LittleEndian.Uint32(table[at+4:]))
		targets = append(targets, start+uint64(at)+4+uint64(int64(offset)))
	}
	slices.Sort(targets)
	return targets
}

var errNoJumpTable = errors.New("no symbol tells where the jump table is")

// table returns where a jump table is, and how many entries it has.
func (b *staticBranches) table(module string) (start, count uint64, err error) {
	if module == "" {
		first, end := b.symbols.LookupData("__start___jump_table"), b.symbols.LookupData("__stop___jump_table")
		if len(first) != 1 || len(end) != 1 || end[0].Addr < first[0].Addr {
			return 0, 0, errNoJumpTable
		}
		return first[0].Addr, (end[0].Addr - first[0].Addr) / jumpEntrySize, nil
	}
	for _, s := range b.symbols.LookupData("__this_module") {
		if s.Module == module {
			return b.ofModule(s.Addr)
		}
	}
	return 0, 0, errNoJumpTable
}

// ofModule reads them from struct module.
func (b *staticBranches) ofModule(addr uint64) (start, count uint64, err error) {
	layout, err := b.types.Struct("module")
	if err != nil {
		return 0, 0, err
	}
	var found int
	for _, m := range layout.Members {
		field := make([]byte, 8)
		switch m.Name {
		case "jump_entries":
		case "num_jump_entries":
			field = field[:4]
		default:
			continue
		}
		found++
		if err := b.core.ReadText(field, addr+uint64(m.Offset.Bytes())); err != nil {
			return 0, 0, fmt.Errorf("reading struct module: %w", err)
		}
		if len(field) == 8 {
			start = binary.LittleEndian.Uint64(field)
		} else {
			count = uint64(binary.LittleEndian.Uint32(field))
		}
	}
	if found != 2 {
		return 0, 0, fmt.Errorf("struct module: %w", errNoJumpTable)
	}
	return start, count, nil
}
