// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"slices"
	"strings"
)

// Lookup returns every text symbol of exactly this name, in address order.
// Static functions repeat, so there may be several.
func (s *Symbols) Lookup(name string) []Symbol {
	return s.find(name, func(kind byte, n []byte) bool {
		return isText(kind) && string(n) == name
	})
}

// LookupData returns every symbol of exactly this name that is not text, in
// address order. On kernels built without CONFIG_KALLSYMS_ALL there are next to
// none.
func (s *Symbols) LookupData(name string) []Symbol {
	return s.find(name, func(kind byte, n []byte) bool {
		return !isText(kind) && string(n) == name
	})
}

// LookupClone returns Lookup(name) or, when the compiler left no function of
// that name, its .isra, .constprop and .part clones. A clone may take other
// arguments than its source, and a .part clone sees only some calls. Cold parts
// (.cold) are never returned: they are not entered by a call.
func (s *Symbols) LookupClone(name string) []Symbol {
	if exact := s.Lookup(name); len(exact) > 0 {
		return exact
	}
	return s.find(name, func(kind byte, n []byte) bool {
		return isText(kind) && len(n) > len(name) &&
			string(n[:len(name)]) == name && isCloneSuffix(n[len(name):])
	})
}

// isCloneSuffix accepts one or more of ".isra.N", ".constprop.N", ".part.N":
// gcc stacks them, as in foo.constprop.0.isra.0.
func isCloneSuffix(s []byte) bool {
	for len(s) > 0 {
		var ok bool
		for _, kind := range []string{".isra.", ".constprop.", ".part."} {
			if bytes.HasPrefix(s, []byte(kind)) {
				s, ok = s[len(kind):], true
				break
			}
		}
		digits := 0
		for digits < len(s) && s[digits] >= '0' && s[digits] <= '9' {
			digits++
		}
		if !ok || digits == 0 {
			return false
		}
		s = s[digits:]
	}
	return true
}

// find walks the chain of name's stem and returns what matches, in address
// order.
func (s *Symbols) find(name string, match func(kind byte, name []byte) bool) []Symbol {
	if name == "" || strings.IndexByte(name, 0) >= 0 {
		return nil
	}
	var out []Symbol
	for i := s.buckets[hashStem([]byte(name))&uint32(len(s.buckets)-1)]; i != 0; i = s.next[i-1] {
		if match(s.kinds[i-1], s.name(int(i-1))) {
			out = append(out, s.symbol(int(i-1)))
		}
	}
	slices.Reverse(out) // chains are built front first
	return out
}

// indexNames builds the chains.
func (s *Symbols) indexNames() {
	size := 1
	for size < len(s.addrs)/2 {
		size *= 2
	}
	s.buckets = make([]uint32, size)
	s.next = make([]uint32, len(s.addrs))
	for i := range s.addrs {
		b := &s.buckets[hashStem(s.name(i))&uint32(size-1)]
		s.next[i], *b = *b, uint32(i+1)
	}
}

// hashStem is FNV-1a over the name up to its first dot after the first byte.
func hashStem(name []byte) uint32 {
	h := uint32(2166136261)
	for i, c := range name {
		if c == '.' && i > 0 {
			break
		}
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}
