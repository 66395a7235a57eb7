// SPDX-License-Identifier: Apache-2.0

package refsite

// jumpSize is how many bytes the jump takes by which the kernel replaces a probe.
const jumpSize = 5

// maxBehind bounds how far behind a site its probe may be, in bytes.
const maxBehind = 127

// behind is an instruction behind a site at which to see it pass.
type behind struct {
	index    int
	register Register
	device   bool
}

// behind finds where a probe that sees site i stays a breakpoint, when the kernel could
// make it a jump at the site itself. That is the nearest instruction to which control
// comes only through the site as far as the function's code shows, with its register, or that of the device from which it was
// loaded, unchanged.
//
// What is hit in an interrupt while a jump is handled is missed; a breakpoint is handled
// with interrupts off (optimized_callback() and exc_int3() of 6.12).
func (f *flow) behind(l Layout, i int) (behind, bool) {
	if f.staysBreakpoint(i) {
		return behind{}, false
	}
	site := &f.code[i]
	device, known := f.deviceAt(l, i)
	var changed uint16 // registers, since the site
	for j := i + 1; j < len(f.code) && !f.starts[j]; j++ {
		in := &f.code[j]
		if in.at-site.at > maxBehind || in.kind == counted {
			break
		}
		if f.staysBreakpoint(j) {
			if changed&(1<<site.src) == 0 {
				return behind{j, site.src, false}, true
			}
			return behind{j, device, true}, known && changed&(1<<device) == 0
		}
		changed |= in.changes()
	}
	return behind{}, false
}

// deviceAt returns the register that has the device at site i, when the per-CPU pointer was
// loaded from it by one of the instructions that always run together with the site.
func (f *flow) deviceAt(l Layout, i int) (Register, bool) {
	var changed uint16
	for j := i; j > 0 && !f.starts[j]; {
		j--
		in := &f.code[j]
		changed |= in.changes()
		if in.kind == load && in.dst == f.code[i].src {
			return in.src, in.disp == l.Count && changed&(1<<in.src) == 0
		}
		if changed&(1<<f.code[i].src) != 0 {
			break
		}
	}
	return noRegister, false
}

// staysBreakpoint says that the kernel cannot replace a probe at instruction i by a jump,
// since that would move an instruction that it does not move. It says so of fewer than
// there are.
func (f *flow) staysBreakpoint(i int) bool {
	for j := i; j < len(f.code) && f.code[j].at-f.code[i].at < jumpSize; j++ {
		if f.code[j].neverMoved() {
			return true
		}
	}
	return false
}

// neverMoved says that no kernel executes the instruction elsewhere: it is not boostable.
func (in *instruction) neverMoved() bool {
	switch in.kind {
	case branch, jump, call, trap:
		return true
	}
	return false
}

// changes returns the registers that hold something else after the instruction.
func (in *instruction) changes() uint16 {
	set := in.writes
	switch in.kind {
	case move, load, add:
		set |= 1 << in.dst
	}
	return set
}
