// SPDX-License-Identifier: Apache-2.0

package refsite

import "bytes"

// longestSite is the length in bytes of the longest encoding of a site: %gs, REX,
// opcode, ModRM, SIB, 8-bit displacement, immediate.
const longestSite = 7

// candidates calls yield with the offset of each place in text that could be a
// site. Most are not: the bytes may be the middle of another instruction, and
// other per-CPU counters look the same.
func candidates(text []byte, yield func(at int)) {
	const gs = 0x65
	for at := 0; ; at++ {
		next := bytes.IndexByte(text[at:], gs)
		if next < 0 {
			return
		}
		at += next
		if isCandidate(text[at+1:]) {
			yield(at)
		}
	}
}

// isCandidate takes what follows the %gs prefix: incl, decl, or addl or subl of 1
// or -1, of 32 bits in memory at a register.
func isCandidate(b []byte) bool {
	rexB := false
	if len(b) > 0 && b[0]&0xf0 == 0x40 {
		if b[0]&0x0a != 0 { // REX.W: 64 bits; REX.X: an index register
			return false
		}
		rexB = b[0]&1 != 0
		b = b[1:]
	}
	if len(b) < 2 || b[0] != 0xff && b[0] != 0x83 {
		return false
	}
	opcode, modrm := b[0], b[1]
	mod, operation, base := modrm>>6, modrm>>3&7, modrm&7
	if operation > 1 && (opcode != 0x83 || operation != 5) || opcode == 0x83 && operation == 1 {
		return false
	}
	b = b[2:]
	if base == 4 { // a SIB byte: only for r12, which cannot do without
		if len(b) == 0 || b[0] != 0x24 || !rexB {
			return false
		}
		b = b[1:]
	}
	switch {
	case mod == 0 && base == 5: // relative to rip
		return false
	case mod == 1: // rbp and r13 cannot do without a displacement
		if len(b) == 0 || b[0] != 0 {
			return false
		}
		b = b[1:]
	case mod != 0:
		return false
	}
	return opcode == 0xff || len(b) > 0 && (b[0] == 1 || b[0] == 0xff)
}
