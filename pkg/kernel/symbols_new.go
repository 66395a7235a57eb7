// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"iter"
	"strings"
)

// NewSymbols makes a table of symbols that were found otherwise than in /proc/kallsyms,
// such as those of a kernel that crashed. Those without a name, or with a zero byte in
// it, are left out and counted as malformed. Errors are those of [ReadSymbols].
func NewSymbols(symbols iter.Seq[Symbol]) (*Symbols, error) {
	b := newBuilder(0)
	for s := range symbols {
		if s.Name == "" || strings.IndexByte(s.Name, 0) >= 0 {
			b.s.malformed++
			continue
		}
		l := kallsymsLine{addr: s.Addr, kind: s.Type, name: []byte(s.Name), module: []byte(s.Module)}
		if err := b.add(l); err != nil {
			return nil, err
		}
	}
	return b.finish()
}

// All yields every symbol, by address.
func (s *Symbols) All() iter.Seq[Symbol] {
	return func(yield func(Symbol) bool) {
		for i := range s.addrs {
			if !yield(s.symbol(i)) {
				return
			}
		}
	}
}
