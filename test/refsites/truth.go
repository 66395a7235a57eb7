// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/dwarf"
	"debug/elf"
	"fmt"
	"slices"

	"golang.org/x/arch/x86/x86asm"

	"github.com/netns-trace/netns-trace/pkg/refsite"
)

// truth is what the debug information says about one object.
type truth struct {
	// sites is the instructions that inlined calls left, by address, with the
	// name of the function that was inlined.
	sites map[uint64]string
	// elsewhere has the addresses of inlined calls in whose code there is no such
	// instruction.
	elsewhere []uint64
	// described is the code of the functions that the debug information knows. gcc
	// may keep a function whose description it has dropped (functions of the same
	// body, of which one calls the other).
	described [][2]uint64
}

// silent reports whether the debug information was read and has no code at addr.
func (t truth) silent(addr uint64) bool {
	return len(t.described) > 0 && !slices.ContainsFunc(t.described, func(r [2]uint64) bool {
		return addr >= r[0] && addr < r[1]
	})
}

// inlinedName returns whether a function of this name changes the count itself.
// Before 5.17 dev_hold and dev_put did; where they call the others, the innermost
// call has the instruction, and the outer ones contain it.
func inlinedName(name string) bool {
	switch name {
	case "dev_hold", "dev_put", "__dev_hold", "__dev_put":
		return true
	}
	return false
}

// mentions reports whether the object's strings name one of these functions. Most
// modules do not, and are not read further.
func mentions(file *elf.File) (bool, error) {
	s := file.Section(".debug_str")
	if s == nil {
		return false, nil
	}
	data, err := s.Data()
	if err != nil {
		return false, fmt.Errorf("reading .debug_str: %w", err)
	}
	return bytes.Contains(data, []byte("dev_hold\x00")) || bytes.Contains(data, []byte("dev_put\x00")), nil
}

// readTruth reads the DWARF of an object.
func (o *object) readTruth() (truth, error) {
	t := truth{sites: map[uint64]string{}}
	if there, err := mentions(o.file); err != nil || !there {
		return t, err
	}
	data, err := o.file.DWARF()
	if err != nil {
		return t, fmt.Errorf("reading DWARF: %w", err)
	}
	r := data.Reader()
	for {
		unit, err := r.Next()
		if err != nil {
			return t, fmt.Errorf("reading DWARF: %w", err)
		}
		if unit == nil {
			return t, nil
		}
		if err := o.readUnit(&t, data, r); err != nil {
			return t, err
		}
	}
}

// readUnit reads the entries of one compilation unit. The inlined function may be
// described after the calls of it.
func (o *object) readUnit(t *truth, data *dwarf.Data, r *dwarf.Reader) error {
	names := map[dwarf.Offset]string{}
	var calls []*dwarf.Entry
	for depth := 1; depth > 0; {
		e, err := r.Next()
		if err != nil {
			return fmt.Errorf("reading DWARF: %w", err)
		}
		if e == nil {
			break
		}
		switch e.Tag {
		case 0:
			depth--
			continue
		case dwarf.TagSubprogram:
			if name, _ := e.Val(dwarf.AttrName).(string); inlinedName(name) {
				names[e.Offset] = name
			}
			ranges, err := data.Ranges(e)
			if err != nil {
				return fmt.Errorf("reading the ranges of a function: %w", err)
			}
			t.described = append(t.described, ranges...)
		case dwarf.TagInlinedSubroutine:
			calls = append(calls, e)
		case dwarf.TagStructType, dwarf.TagUnionType, dwarf.TagEnumerationType, dwarf.TagSubroutineType:
			r.SkipChildren()
			continue
		}
		if e.Children {
			depth++
		}
	}
	if len(names) == 0 {
		return nil
	}
	for _, call := range calls {
		origin, _ := call.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
		name, ok := names[origin]
		if !ok {
			continue
		}
		ranges, err := data.Ranges(call)
		if err != nil {
			return fmt.Errorf("reading the ranges of a call of %s: %w", name, err)
		}
		o.addCall(t, name, ranges)
	}
	return nil
}

// addCall looks for the instruction in the code of one inlined call.
func (o *object) addCall(t *truth, name string, ranges [][2]uint64) {
	found, resident := false, false
	for _, r := range ranges {
		text := make([]byte, r[1]-r[0])
		if err := o.ReadText(text, r[0]); err != nil {
			continue // init text
		}
		resident = true
		for at := 0; at < len(text); {
			in, err := x86asm.Decode(text[at:], 64)
			if err != nil || in.Len == 0 {
				break
			}
			if changesPerCPU(&in) {
				t.sites[r[0]+uint64(at)] = name
				found = true
			}
			at += in.Len
		}
	}
	if resident && !found {
		t.elsewhere = append(t.elsewhere, ranges[0][0])
	}
}

// changesPerCPU tells the instruction by its meaning, not by its bytes as the
// scanner does.
func changesPerCPU(in *x86asm.Inst) bool {
	switch in.Op {
	case x86asm.INC, x86asm.DEC, x86asm.ADD, x86asm.SUB:
	default:
		return false
	}
	m, ok := in.Args[0].(x86asm.Mem)
	return ok && m.Segment == x86asm.GS && m.Base != 0 && m.Base != x86asm.RIP
}

// result is what one object gave.
type result struct {
	object *object
	truth  truth
	sites  []refsite.Site
}
