// SPDX-License-Identifier: Apache-2.0

package refsite

import "golang.org/x/arch/x86/x86asm"

// written returns the general registers that an instruction changes, besides those
// that decodeOne follows. An instruction that is not listed changes its first
// operand: to believe too many changed loses a site, to believe too few invents
// one.
func written(x *x86asm.Inst) uint16 {
	var set uint16
	if first, ok := x.Args[0].(x86asm.Reg); ok && !onlyReads(x.Op) {
		set = bit(first)
	}
	switch x.Op {
	case x86asm.XCHG, x86asm.XADD:
		if second, ok := x.Args[1].(x86asm.Reg); ok {
			set |= bit(second)
		}
	case x86asm.CMPXCHG, x86asm.CBW, x86asm.CWDE, x86asm.CDQE, x86asm.IN, x86asm.LAHF, x86asm.XLATB:
		set |= setRAX
	case x86asm.MUL, x86asm.DIV, x86asm.IDIV, x86asm.CMPXCHG8B, x86asm.CMPXCHG16B, x86asm.RDMSR,
		x86asm.RDTSC, x86asm.RDPMC, x86asm.XGETBV:
		set |= setRAX | setRDX
	case x86asm.IMUL:
		if x.Args[1] == nil {
			set |= setRAX | setRDX
		}
	case x86asm.RDTSCP:
		set |= setRAX | setRDX | setRCX
	case x86asm.CWD, x86asm.CDQ, x86asm.CQO:
		set |= setRDX
	case x86asm.CPUID:
		set |= setRAX | setRBX | setRCX | setRDX
	case x86asm.LEAVE:
		set |= setRBP | setRSP
	case x86asm.ENTER:
		set |= setRBP | setRSP
	default:
		set |= writtenByString(x.Op)
	}
	return set
}

// onlyReads tells the instructions whose first operand may be a general register
// that stays as it is.
func onlyReads(op x86asm.Op) bool {
	switch op {
	case x86asm.CMP, x86asm.TEST, x86asm.PUSH, x86asm.BT, x86asm.NOP, x86asm.OUT,
		x86asm.LLDT, x86asm.LTR, x86asm.LMSW, x86asm.VERR, x86asm.VERW,
		x86asm.UD0, x86asm.UD1, x86asm.UD2, x86asm.INVPCID,
		x86asm.WRFSBASE, x86asm.WRGSBASE:
		return true
	}
	return false
}

// writtenByString returns what string instructions change, with or without a
// repeat prefix.
func writtenByString(op x86asm.Op) uint16 {
	switch op {
	case x86asm.LODSB, x86asm.LODSW, x86asm.LODSD, x86asm.LODSQ:
		return setRAX | setRSI | setRCX
	case x86asm.STOSB, x86asm.STOSW, x86asm.STOSD, x86asm.STOSQ,
		x86asm.SCASB, x86asm.SCASW, x86asm.SCASD, x86asm.SCASQ,
		x86asm.INSB, x86asm.INSW, x86asm.INSD:
		return setRDI | setRCX
	case x86asm.MOVSB, x86asm.MOVSW, x86asm.MOVSD, x86asm.MOVSQ,
		x86asm.CMPSB, x86asm.CMPSW, x86asm.CMPSD, x86asm.CMPSQ:
		return setRSI | setRDI | setRCX
	case x86asm.OUTSB, x86asm.OUTSW, x86asm.OUTSD:
		return setRSI | setRCX
	}
	return 0
}

func bit(r x86asm.Reg) uint16 {
	reg, ok := generalRegister(r)
	if !ok {
		return 0
	}
	return 1 << reg
}
