// SPDX-License-Identifier: Apache-2.0

package kernel

import "strconv"

// Frame is a kernel address with its name.
type Frame struct {
	// Symbol is the enclosing symbol; empty when the address has no name.
	Symbol string
	// Offset is Addr minus the symbol's address, in bytes.
	Offset uint64
	// Size is the distance in bytes from the symbol to the next distinct
	// address, which is what the kernel itself calls a symbol's size.
	Size uint64
	// Module is what kallsyms shows in brackets: a loadable module, one of
	// the kernel's own labels ("bpf", "__builtin__ftrace",
	// "__builtin__kprobes"), or empty for the kernel image.
	Module string
	// Addr is the address that was asked for.
	Addr uint64
}

// String formats the frame as the kernel's %pS does,
// sym+0xoff/0xsize [module], which scripts/decode_stacktrace.sh accepts. An
// address without a name is printed as 0x and 16 digits.
func (f Frame) String() string {
	if f.Symbol == "" {
		const digits = "0123456789abcdef"
		b := []byte("0x0000000000000000")
		for i, a := len(b)-1, f.Addr; a != 0; i, a = i-1, a>>4 {
			b[i] = digits[a&0xf]
		}
		return string(b)
	}
	b := make([]byte, 0, len(f.Symbol)+len(f.Module)+24)
	b = append(b, f.Symbol...)
	b = append(b, "+0x"...)
	b = strconv.AppendUint(b, f.Offset, 16)
	b = append(b, "/0x"...)
	b = strconv.AppendUint(b, f.Size, 16)
	// bpf_address_lookup() clears the module name, so %pS prints a BPF
	// program without brackets although /proc/kallsyms shows "[bpf]". The
	// __builtin__ labels are no modules either: decode_stacktrace.sh would
	// look for their .ko.
	if f.Module != "" && !isLabel(f.Module) {
		b = append(b, " ["...)
		b = append(b, f.Module...)
		b = append(b, ']')
	}
	return string(b)
}
