// SPDX-License-Identifier: Apache-2.0

package refsite

// Text is memory with the code of a kernel.
type Text interface {
	// ReadText fills b with the bytes at addr. Returns an error when it cannot
	// fill all of it.
	ReadText(b []byte, addr uint64) error
}

// Range is [Start, End) of code that lies together.
type Range struct{ Start, End uint64 }

// Function is the extent of one function.
type Function struct {
	Name string
	// Start and End are addresses; End is exclusive.
	Start, End uint64
	// Module is the loadable module, empty for the kernel image.
	Module string
	// Last is true when the module has no text after it.
	Last bool
}

// Symbols knows the functions of a text.
type Symbols interface {
	// FunctionAt returns the function that addr is in.
	FunctionAt(addr uint64) (Function, bool)
	// FunctionsNamed returns the functions of a module that have this name.
	FunctionsNamed(name, module string) []Function
	// StaticBranchInto says whether a static branch of the module leads, or may lead,
	// to an address above start and up to end. While it is off its code shows nothing
	// of that.
	StaticBranchInto(module string, start, end uint64) bool
}
