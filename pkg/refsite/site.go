// SPDX-License-Identifier: Apache-2.0

package refsite

import "errors"

// ErrArchitecture says that the text is of an architecture that is not understood.
// Only x86-64 is.
var ErrArchitecture = errors.New("reference sites are found in x86-64 code only")

// Op is what an instruction does to the count.
type Op uint8

const (
	// Hold takes a reference.
	Hold Op = iota + 1
	// Put drops one.
	Put
)

// String returns hold or put.
func (o Op) String() string {
	switch o {
	case Hold:
		return "hold"
	case Put:
		return "put"
	}
	return "?"
}

// Rule is how the register of a site was recognised.
type Rule uint8

const (
	// Loaded: the pointer was loaded from net_device.pcpu_refcnt.
	Loaded Rule = iota + 1
	// Stored: the pointer was stored there first. Only the function that allocates
	// devices does so: what it holds is a new device.
	Stored
	// Container: the pointer was loaded through the address of a timer, a work or
	// a device that a net_device embeds, or of any member from whose address the
	// function computes that of the net_device.
	Container
	// Private: the pointer was loaded through the driver's private part, which
	// follows the net_device.
	Private
)

// String names the rule.
func (r Rule) String() string {
	switch r {
	case Loaded:
		return "loaded"
	case Stored:
		return "stored"
	case Container:
		return "container"
	case Private:
		return "private"
	}
	return "?"
}

// Reason is why no probe may be placed at a site; empty when one may.
type Reason string

const (
	// LastInModule: the function is the last of its module's text. The kernel
	// decodes a function before it optimises a probe in it; 6.12.117 reads past
	// the text's end there (can_optimize) and faults.
	LastInModule Reason = "in the last function of the module's text"
	// Undecodable: some bytes of the function are no known instruction, or the
	// last one reaches beyond its end.
	Undecodable Reason = "the function's bytes do not decode to its end"
)

// Site is an instruction that changes the reference count of a network device.
type Site struct {
	// Addr is the instruction's address.
	Addr uint64
	// Symbol and Offset are the same, by function; Offset is in bytes.
	Symbol string
	Offset uint64
	// Module is the name of the loadable module, empty for the kernel image.
	Module string
	// Op is what the instruction does.
	Op Op
	// Register holds the per-CPU pointer, the value of net_device.pcpu_refcnt.
	Register Register
	// Rule is how it was recognised.
	Rule Rule
	// LoadAddr is the address of the instruction before, when that is what loads
	// Register and control comes to Addr only through it; otherwise 0. There Base
	// holds the address of the net_device.
	LoadAddr uint64
	Base     Register
	// AfterAddr is the address of an instruction behind the site, to which control
	// comes only through it, and at which the kernel cannot replace a probe by a
	// jump; 0 when there is none, and when it could not do so at the site either.
	// There AfterRegister holds what Register does, or, when AfterDevice is true,
	// the address of the net_device.
	AfterAddr     uint64
	AfterRegister Register
	AfterDevice   bool
	// Refused is why no probe may be placed here; empty when one may.
	Refused Reason
}

// enteredAt takes in that something branches to addr.
func (s *Site) enteredAt(addr uint64) {
	if s.Addr == addr {
		s.LoadAddr, s.Base = 0, noRegister
	}
	if s.Addr < addr && addr <= s.AfterAddr {
		s.AfterAddr, s.AfterRegister, s.AfterDevice = 0, noRegister, false
	}
}

// Register is a general register by its number in x86-64 instructions.
type Register uint8

const noRegister Register = 0xff

// String returns the register's name, such as rax.
func (r Register) String() string {
	names := [16]string{
		"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
		"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
	}
	if int(r) < len(names) {
		return names[r]
	}
	return "none"
}
