// SPDX-License-Identifier: Apache-2.0

package refsite

import (
	"bytes"

	"golang.org/x/arch/x86/x86asm"
)

// kind is what an instruction means to those who follow a pointer.
type kind uint8

const (
	other   kind = iota
	move         // dst = src
	load         // dst = 64 bits at src+disp
	store        // 64 bits at dst+disp = src
	add          // dst = src + disp
	branch       // to target, or on
	jump         // to target
	call         // comes back
	leave        // does not come back here
	counted      // incl or decl %gs:(src); disp is +1 or -1
	trap         // int3
)

// instruction is one decoded instruction of a function.
type instruction struct {
	at       uint32 // offset in the function
	size     uint8
	kind     kind
	dst, src Register
	writes   uint16 // registers whose value is lost, by number
	disp     int64
	target   int64 // offset in the function; it may be outside
}

// registerSet is one bit for each general register.
const (
	setRAX = 1 << 0
	setRCX = 1 << 1
	setRDX = 1 << 2
	setRBX = 1 << 3
	setRSP = 1 << 4
	setRBP = 1 << 5
	setRSI = 1 << 6
	setRDI = 1 << 7
	// A called function may change these.
	setCall = setRAX | setRCX | setRDX | setRSI | setRDI | 0xf00
)

// decode decodes text as instructions one after the other, appending to list. The
// second result is false when it meets bytes that are none or when the last one
// reaches beyond the text; the list then has what is before.
func decode(list []instruction, text []byte) ([]instruction, bool) {
	for at := 0; at < len(text); {
		in, ok := decodeOne(text[at:])
		if !ok || int(in.size) > len(text)-at {
			// What fills the space after a module's section, of any length.
			return list, len(bytes.Trim(text[at:], "\x00")) == 0
		}
		in.at = uint32(at)
		in.target += int64(at)
		at += int(in.size)
		list = append(list, in)
	}
	return list, true
}

// decodeOne decodes the first instruction of b. target is relative to it.
func decodeOne(b []byte) (instruction, bool) {
	// x86asm does not know endbr64.
	if len(b) >= 4 && b[0] == 0xf3 && b[1] == 0x0f && b[2] == 0x1e && b[3] == 0xfa {
		return instruction{size: 4, dst: noRegister, src: noRegister}, true
	}
	if in, ok := decodeSystem(b); ok {
		return in, true
	}
	if size, ok := sizeOfUD1(b); ok {
		return instruction{size: size, dst: noRegister, src: noRegister}, true
	}
	if b[0] == 0xcc {
		return instruction{size: 1, kind: trap, dst: noRegister, src: noRegister}, true
	}
	x, err := x86asm.Decode(b, 64)
	if err != nil || x.Op == 0 || x.Len <= 0 {
		return instruction{}, false
	}
	in := instruction{size: uint8(x.Len), dst: noRegister, src: noRegister}
	if in.control(&x) || in.moved(&x) {
		return in, true
	}
	in.writes = written(&x)
	return in, true
}

// decodeSystem decodes instructions with the opcode 0f 01 and no memory operand, with
// or without a prefix: x86asm knows few of them, and the kernel patches them in at
// boot (stac, clac, serialize, rdpkru, vmcall). All are three bytes long.
func decodeSystem(b []byte) (instruction, bool) {
	size := 3
	if len(b) > 0 && (b[0] == 0x66 || b[0] == 0xf2 || b[0] == 0xf3) {
		b, size = b[1:], 4
	}
	if len(b) < 3 || b[0] != 0x0f || b[1] != 0x01 || b[2] < 0xc0 {
		return instruction{}, false
	}
	const clac, stac = 0xca, 0xcb
	in := instruction{size: uint8(size), dst: noRegister, src: noRegister}
	if b[2] != clac && b[2] != stac {
		in.writes = setRAX | setRBX | setRCX | setRDX
	}
	return in, true
}

// sizeOfUD1 returns the length of the instruction ud1, of which x86asm knows the
// opcode only. A warning of 7.x is a static call that the kernel patches to
// ud1 (%edx),%reg; the program goes on behind it.
func sizeOfUD1(b []byte) (uint8, bool) {
	n := 0
	if len(b) > n && b[n] == 0x67 {
		n++
	}
	if len(b) > n && b[n]&0xf0 == 0x40 {
		n++
	}
	if len(b) < n+3 || b[n] != 0x0f || b[n+1] != 0xb9 {
		return 0, false
	}
	modrm := b[n+2]
	mod, base := modrm>>6, modrm&7
	n += 3
	if mod != 3 && base == 4 { // a SIB byte
		if len(b) <= n {
			return 0, false
		}
		base = b[n] & 7
		n++
	}
	switch {
	case mod == 1:
		n++
	case mod == 2, mod == 0 && base == 5:
		n += 4
	}
	return uint8(n), true
}

// control fills in what changes where the program goes on.
func (in *instruction) control(x *x86asm.Inst) bool {
	switch x.Op {
	case x86asm.CALL, x86asm.LCALL, x86asm.SYSCALL:
		in.kind, in.writes = call, setCall
		return true
	case x86asm.RET, x86asm.LRET, x86asm.IRET, x86asm.IRETD, x86asm.IRETQ, x86asm.SYSRET,
		x86asm.SYSEXIT, x86asm.LJMP, x86asm.HLT:
		in.kind = leave
		return true
	case x86asm.JMP:
		in.kind = leave
		if rel, ok := x.Args[0].(x86asm.Rel); ok {
			in.kind, in.target = jump, int64(x.Len)+int64(rel)
		}
		return true
	}
	if rel, ok := x.Args[0].(x86asm.Rel); ok {
		in.kind, in.target = branch, int64(x.Len)+int64(rel)
		if x.Op == x86asm.LOOP || x.Op == x86asm.LOOPE || x.Op == x86asm.LOOPNE {
			in.writes = setRCX
		}
		return true
	}
	return false
}

// moved fills in what moves a pointer, and the sites themselves.
func (in *instruction) moved(x *x86asm.Inst) bool {
	switch x.Op {
	case x86asm.MOV, x86asm.LEA:
		return in.movedByMove(x)
	case x86asm.INC, x86asm.DEC, x86asm.ADD, x86asm.SUB:
	default:
		return false
	}
	by := int64(1)
	if x.Args[1] != nil {
		imm, ok := x.Args[1].(x86asm.Imm)
		if !ok {
			return false
		}
		by = int64(int32(imm))
	}
	if x.Op == x86asm.DEC || x.Op == x86asm.SUB {
		by = -by
	}
	switch dst := x.Args[0].(type) {
	case x86asm.Mem:
		if base, ok := generalRegister(dst.Base); ok && dst.Segment == x86asm.GS && dst.Index == 0 &&
			dst.Disp == 0 && x.MemBytes == 4 && (by == 1 || by == -1) {
			in.kind, in.src, in.disp = counted, base, by
			return true
		}
	case x86asm.Reg:
		if reg, ok := fullRegister(dst); ok {
			in.kind, in.dst, in.src, in.disp = add, reg, reg, by
			return true
		}
	}
	return false
}

func (in *instruction) movedByMove(x *x86asm.Inst) bool {
	if mem, ok := x.Args[0].(x86asm.Mem); ok {
		src, full := registerOf(x.Args[1])
		base, plain := plainAddress(mem)
		if full && plain {
			in.kind, in.dst, in.src, in.disp = store, base, src, displacement(mem)
		}
		return full && plain
	}
	dst, full := registerOf(x.Args[0])
	if !full {
		return false
	}
	switch from := x.Args[1].(type) {
	case x86asm.Reg:
		src, full := fullRegister(from)
		if full {
			in.kind, in.dst, in.src = move, dst, src
		}
		return full
	case x86asm.Mem:
		base, plain := plainAddress(from)
		if !plain {
			return false
		}
		in.kind, in.dst, in.src, in.disp = load, dst, base, displacement(from)
		if x.Op == x86asm.LEA {
			in.kind = add
		}
		return true
	}
	return false
}

// plainAddress returns the base of an address that is a register and a
// displacement.
func plainAddress(m x86asm.Mem) (Register, bool) {
	if m.Index != 0 || m.Segment == x86asm.GS || m.Segment == x86asm.FS {
		return noRegister, false
	}
	return fullRegister(m.Base)
}

// displacement undoes that x86asm does not extend the sign of 32 bits.
func displacement(m x86asm.Mem) int64 { return int64(int32(uint32(m.Disp))) }

func registerOf(a x86asm.Arg) (Register, bool) {
	r, ok := a.(x86asm.Reg)
	if !ok {
		return noRegister, false
	}
	return fullRegister(r)
}

// fullRegister accepts general registers of 64 bits.
func fullRegister(r x86asm.Reg) (Register, bool) {
	if r < x86asm.RAX || r > x86asm.R15 {
		return noRegister, false
	}
	return Register(r - x86asm.RAX), true
}

// generalRegister accepts general registers of any width.
func generalRegister(r x86asm.Reg) (Register, bool) {
	switch {
	case r >= x86asm.AL && r <= x86asm.BL:
		return Register(r - x86asm.AL), true
	case r >= x86asm.AH && r <= x86asm.BH:
		return Register(r - x86asm.AH), true
	case r >= x86asm.SPB && r <= x86asm.R15B:
		return Register(r-x86asm.SPB) + 4, true
	case r >= x86asm.AX && r <= x86asm.R15W:
		return Register(r - x86asm.AX), true
	case r >= x86asm.EAX && r <= x86asm.R15L:
		return Register(r - x86asm.EAX), true
	case r >= x86asm.RAX && r <= x86asm.R15:
		return Register(r - x86asm.RAX), true
	}
	return noRegister, false
}
