// SPDX-License-Identifier: Apache-2.0

package refsite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// device is a layout in which pcpu_refcnt is at 0x570, a timer at 0x528, a list at 0x3d8 and the
// private part at 0xa00.
var device = Layout{Count: 0x570, Embedded: []int64{0x528, 0x5c0}, Members: []int64{0x3d8, 0x528, 0x570, 0x5c0}, Private: 0xa00}

// program is text at textBase with functions one after the other.
type program struct {
	text      []byte
	functions []Function
	branches  []uint64 // offsets in text to which static branches lead
}

func (p *program) StaticBranchInto(_ string, start, end uint64) bool {
	return slices.ContainsFunc(p.branches, func(to uint64) bool { return start < textBase+to && textBase+to <= end })
}

const textBase = 0xffffffffc0100000

// assemble makes a program of functions given as name and bytes in hexadecimal;
// what follows a # on a line is a comment.
func assemble(t testing.TB, module string, functions ...string) *program {
	t.Helper()
	p := &program{}
	for i := 0; i < len(functions); i += 2 {
		start := textBase + uint64(len(p.text))
		for line := range strings.Lines(functions[i+1]) {
			code, _, _ := strings.Cut(line, "#")
			for _, digits := range strings.Fields(code) {
				var b byte
				if _, err := fmt.Sscanf(digits, "%02x", &b); err != nil {
					t.Fatalf("%q is no byte", digits)
				}
				p.text = append(p.text, b)
			}
		}
		p.functions = append(p.functions, Function{
			Name: functions[i], Start: start, End: textBase + uint64(len(p.text)), Module: module,
		})
	}
	p.functions[len(p.functions)-1].Last = true
	return p
}

func (p *program) ReadText(b []byte, addr uint64) error {
	if addr < textBase || addr-textBase+uint64(len(b)) > uint64(len(p.text)) {
		return errors.New("beyond the text")
	}
	copy(b, p.text[addr-textBase:])
	return nil
}

func (p *program) FunctionAt(addr uint64) (Function, bool) {
	for _, f := range p.functions {
		if addr >= f.Start && addr < f.End {
			return f, true
		}
	}
	return Function{}, false
}

func (p *program) FunctionsNamed(name, module string) []Function {
	return slices.DeleteFunc(slices.Clone(p.functions), func(f Function) bool {
		return f.Name != name || f.Module != module
	})
}

func (p *program) scan(t testing.TB) []string {
	t.Helper()
	sites, err := Scan(t.Context(), p, []Range{{textBase, textBase + uint64(len(p.text))}}, p, device)
	if err != nil {
		t.Fatalf("Scan: %v", err)
	}
	var list []string
	for _, s := range sites {
		line := fmt.Sprintf("%s+%#x %s %s %s", s.Symbol, s.Offset, s.Op, s.Register, s.Rule)
		if s.LoadAddr != 0 {
			line += fmt.Sprintf(" load-%d %s", s.Addr-s.LoadAddr, s.Base)
		}
		if s.Refused != "" {
			line += ": " + string(s.Refused)
		}
		list = append(list, line)
	}
	return list
}

func TestSitesOfEachRule(t *testing.T) {
	for _, tc := range []struct {
		what string
		code string
		want []string
	}{
		{"dev_put as the compiler writes it", `
			48 8b 83 70 05 00 00  # mov 0x570(%rbx),%rax
			65 ff 08              # decl %gs:(%rax)
			c3`, []string{"f+0x7 put rax loaded load-7 rbx"}},
		{"dev_hold after endbr64, device in a register that needs a SIB byte", `
			f3 0f 1e fa
			49 8b 84 24 70 05 00 00  # mov 0x570(%r12),%rax
			65 ff 00                 # incl %gs:(%rax)
			c3`, []string{"f+0xc hold rax loaded load-8 r12"}},
		{"the load overwrites the device: at the load it is still there", `
			48 8b 80 70 05 00 00  # mov 0x570(%rax),%rax
			65 ff 08
			c3`, []string{"f+0x7 put rax loaded load-7 rax"}},
		{"pointer in r13, which needs a displacement of 0", `
			4c 8b ab 70 05 00 00  # mov 0x570(%rbx),%r13
			65 41 ff 45 00        # incl %gs:0x0(%r13)
			c3`, []string{"f+0x7 hold r13 loaded load-7 rbx"}},
		{"pointer in r12, which needs a SIB byte", `
			4c 8b a3 70 05 00 00  # mov 0x570(%rbx),%r12
			65 41 ff 0c 24        # decl %gs:(%r12)
			c3`, []string{"f+0x7 put r12 loaded load-7 rbx"}},
		{"addl of 1, addl of -1, subl of 1", `
			48 8b 83 70 05 00 00
			65 83 00 01           # addl $1,%gs:(%rax)
			65 83 00 ff           # addl $-1,%gs:(%rax)
			65 83 28 01           # subl $1,%gs:(%rax)
			c3`, []string{"f+0x7 hold rax loaded load-7 rbx", "f+0xb put rax loaded", "f+0xf put rax loaded"}},
		{"moved to another register before it is used", `
			48 8b 83 70 05 00 00
			48 89 c2              # mov %rax,%rdx
			31 c0                 # xor %eax,%eax
			65 ff 0a              # decl %gs:(%rdx)
			c3`, []string{"f+0xc put rdx loaded"}},
		{"the field's address was computed first", `
			48 8d 83 70 05 00 00  # lea 0x570(%rbx),%rax
			48 8b 00              # mov (%rax),%rax
			65 ff 08
			c3`, []string{"f+0xa put rax loaded"}},
		{"two ways bring the pointer of different devices", `
			48 85 ff              # test %rdi,%rdi
			74 09                 # je L
			48 8b 87 70 05 00 00  # mov 0x570(%rdi),%rax
			eb 07                 # jmp M
			48 8b 86 70 05 00 00  # L: mov 0x570(%rsi),%rax
			65 ff 08              # M: decl %gs:(%rax)
			c3`, []string{"f+0x15 put rax loaded"}},
		{"a new device: the pointer was stored there", `
			e8 00 00 10 00        # call
			48 89 83 70 05 00 00  # mov %rax,0x570(%rbx)
			65 ff 00
			c3`, []string{"f+0xc hold rax stored"}},
		{"a timer's function: the device is around the timer", `
			48 8b 47 48           # mov 0x48(%rdi),%rax; 0x570-0x528
			65 ff 08
			c3`, []string{"f+0x4 put rax container"}},
		{"a list's entry: the function computes the device from it", `
			48 89 dd              # mov %rbx,%rbp
			48 81 ed d8 03 00 00  # sub $0x3d8,%rbp
			74 0a                 # je L
			48 8b 83 98 01 00 00  # mov 0x198(%rbx),%rax; 0x570-0x3d8
			65 ff 00
			c3                    # L`, []string{"f+0x13 hold rax container"}},
		{"a warning of 7.x between load and site", `
			48 8b 83 70 05 00 00
			67 48 0f b9 3a        # ud1 (%edx),%rdi
			65 ff 00
			c3`, []string{"f+0xc hold rax loaded"}},
		{"user memory is opened between load and site, by an instruction patched in", `
			48 8b 83 70 05 00 00
			0f 01 cb              # stac
			65 ff 00
			c3`, []string{"f+0xa hold rax loaded"}},
		{"the driver's private part, which lies behind the device", `
			48 8b 87 70 fb ff ff  # mov -0x490(%rdi),%rax; 0x570-0xa00
			65 ff 08
			c3`, []string{"f+0x7 put rax private"}},
		{"reached by no branch of the function: a static branch that is off", `
			c3
			48 8b 83 70 05 00 00
			65 ff 08
			c3`, []string{"f+0x8 put rax loaded load-7 rbx"}},
		{"a branch lands between load and site: no load address", `
			48 85 ff
			74 07                 # je M
			48 8b 87 70 05 00 00
			65 ff 08              # M: rax is not known on the other way
			c3`, nil},
		{"a loop holds on to its pointer", `
			48 8b 83 70 05 00 00
			65 ff 00              # L: incl %gs:(%rax)
			ff c9                 # dec %ecx
			75 f9                 # jne L
			c3`, []string{"f+0x7 hold rax loaded"}},
	} {
		t.Run(tc.what, func(t *testing.T) {
			got := assemble(t, "", "f", tc.code, "end", "c3").scan(t)
			if !slices.Equal(got, tc.want) {
				t.Errorf("found %q, want %q", got, tc.want)
			}
		})
	}
}

func TestWhatIsNoSite(t *testing.T) {
	for _, tc := range []struct{ what, code string }{
		{"another per-CPU counter", `48 8b 83 78 05 00 00  65 ff 08  c3`},
		{"a counter of 64 bits", `48 8b 83 70 05 00 00  65 48 ff 08  c3`},
		{"not per CPU", `48 8b 83 70 05 00 00  ff 08  c3`},
		{"locked, in memory shared by all", `48 8b 83 70 05 00 00  f0 ff 08  c3`},
		{"by another amount", `48 8b 83 70 05 00 00  65 83 00 02  c3`},
		{"with a displacement", `48 8b 83 70 05 00 00  65 ff 48 04  c3`},
		{"a function was called since: rax is what it returned", `48 8b 83 70 05 00 00  e8 00 00 10 00  65 ff 08  c3`},
		{"the register was written since", `48 8b 83 70 05 00 00  48 0f b6 c1  65 ff 08  c3`},
		{"half of it was exchanged", `48 8b 83 70 05 00 00  87 c8  65 ff 08  c3`},
		{"cmpxchg writes rax", `48 8b 83 70 05 00 00  f0 0f b1 0e  65 ff 08  c3`},
		{"32 bits of the field", `8b 83 70 05 00 00  65 ff 08  c3`},
		{"a list's entry, but of something else", `48 8b 83 98 01 00 00  65 ff 08  c3`},
		{"the field of an array's element", `48 8b 84 cb 70 05 00 00  65 ff 08  c3`},
		{"the bytes are part of another instruction", `48 b8 65 ff 08 48 8b 83 70 05  c3`},
	} {
		t.Run(tc.what, func(t *testing.T) {
			if got := assemble(t, "", "f", tc.code, "end", "c3").scan(t); got != nil {
				t.Errorf("found %q", got)
			}
		})
	}
}

const put = "48 8b 83 70 05 00 00  65 ff 08  "

func TestNoProbeWhereItCouldCrashTheKernel(t *testing.T) {
	for _, tc := range []struct {
		what, module string
		functions    []string
		want         []string
	}{
		{
			"the last function of a module", "net_failover",
			[]string{"first", put + "c3", "last.cold", put + "c3"},
			[]string{"first+0x7 put rax loaded load-7 rbx", "last.cold+0x7 put rax loaded load-7 rbx: " + string(LastInModule)},
		},
		{
			"the last function of the kernel is followed by more of it", "",
			[]string{"last", put + "c3"},
			[]string{"last+0x7 put rax loaded load-7 rbx"},
		},
		{
			"the last instruction reaches beyond the function", "m",
			[]string{"first", put + "e8 00", "second", "c3", "last", "c3"},
			[]string{"first+0x7 put rax loaded load-7 rbx: " + string(Undecodable)},
		},
		{
			"bytes that are no instruction", "m",
			[]string{"first", put + "c3 06 c3", "last", "c3"},
			[]string{"first+0x7 put rax loaded load-7 rbx: " + string(Undecodable)},
		},
		{
			"padding between functions is code", "m",
			[]string{"first", put + "c3 cc 66 66 2e 0f 1f 84 00 00 00 00 00 90", "last", "c3"},
			[]string{"first+0x7 put rax loaded load-7 rbx"},
		},
		{
			"padding between sections of a module is 0, of any length", "m",
			[]string{"first", put + "c3 cc cc 00 00 00", "last", "c3"},
			[]string{"first+0x7 put rax loaded load-7 rbx"},
		},
		{
			"the cold part jumps back to the site: its load is passed by", "m",
			[]string{"first", put + "c3", "first.cold", put + "e9 ed ff ff ff", "last", "c3"},
			[]string{"first+0x7 put rax loaded", "first.cold+0x7 put rax loaded load-7 rbx"},
		},
	} {
		t.Run(tc.what, func(t *testing.T) {
			if got := assemble(t, tc.module, tc.functions...).scan(t); !slices.Equal(got, tc.want) {
				t.Errorf("found %q, want %q", got, tc.want)
			}
		})
	}
}

// patched shows bytes that decode only from the second time on.
type patched struct {
	*program
	reads int
}

func (p *patched) ReadText(b []byte, addr uint64) error {
	err := p.program.ReadText(b, addr)
	if p.reads++; p.reads == 2 { // the first is the search for candidates
		b[11] = 0x06
	}
	return err
}

func TestFunctionThatIsJustBeingPatchedIsReadAgain(t *testing.T) {
	p := &patched{program: assemble(t, "", "f", put+"c3 0f 1f 44 00 00 c3", "end", "c3")}
	sites, err := Scan(t.Context(), p, []Range{{textBase, textBase + uint64(len(p.text))}}, p, device)
	if err != nil || len(sites) != 1 || sites[0].Refused != "" {
		t.Errorf("Scan: %+v, %v", sites, err)
	}
	if p.reads < 3 {
		t.Errorf("the text was read %d times", p.reads)
	}
}

func TestSiteAcrossTheEndOfAChunkIsFoundOnce(t *testing.T) {
	for shift := range 16 {
		p := assemble(t, "", "f", put+"c3", "end", "c3")
		pad := make([]byte, chunkSize-shift)
		for i := range pad {
			pad[i] = 0x90
		}
		p.text = append(pad, p.text...)
		for i := range p.functions {
			p.functions[i].Start += uint64(len(pad))
			p.functions[i].End += uint64(len(pad))
		}
		if got := p.scan(t); len(got) != 1 {
			t.Errorf("function %d bytes before the end of a chunk: found %q", shift, got)
		}
	}
}

func TestGarbageIsScannedInBoundedTime(t *testing.T) {
	for _, tc := range []struct{ what, pattern string }{
		{"nothing but sites", "65 ff 08"},
		{"nothing but sites that know their pointer", put},
		{"each site a block of its own, all branching to the first", put + "0f 84 00 00 00 00"},
		{"each block joins two ways", "74 02 90 90 48 89 c8 65 ff 08"},
		{"stores and loads", "48 89 83 70 05 00 00 65 ff 00"},
		{"each address made of the one before", "48 83 c3 01 48 8b 03 65 ff 00"},
	} {
		t.Run(tc.what, func(t *testing.T) {
			p := assemble(t, "m", "f", tc.pattern)
			size := len(p.text)
			p.text = bytes.Repeat(p.text, maxFunctionSize/size)
			if at := bytes.Index(p.text, []byte{0x0f, 0x84}); at >= 0 {
				for ; at < len(p.text); at += size {
					binary.LittleEndian.PutUint32(p.text[at+2:], uint32(-(at + 6)))
				}
			}
			p.functions[0].End = textBase + uint64(len(p.text))
			started := time.Now()
			p.scan(t)
			// Natively it takes 0.1 s at most; the race detector and a busy
			// machine are slow. Quadratic time would be minutes.
			if took := time.Since(started); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func FuzzScan(f *testing.F) {
	f.Add(assemble(f, "m", "f", put+"c3").text)
	f.Add(assemble(f, "m", "f", "48 85 ff 74 07"+put+"c3 75 f0 eb f3").text)
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) == 0 {
			return
		}
		end := textBase + uint64(len(text))
		p := &program{text: text, functions: []Function{{Name: "f", Start: textBase, End: end, Module: "m"}}}
		sites, err := Scan(t.Context(), p, []Range{{textBase, end}}, p, device)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sites {
			if s.Addr < textBase || s.Addr >= end || s.Offset != s.Addr-textBase || s.Op.String() == "?" ||
				s.Rule.String() == "?" || s.Register.String() == "none" {
				t.Errorf("site %+v of %d bytes", s, len(text))
			}
			if s.LoadAddr != 0 && (s.LoadAddr >= s.Addr || s.Base.String() == "none") {
				t.Errorf("load of site %+v", s)
			}
			if s.AfterAddr != 0 && (s.AfterAddr <= s.Addr || s.AfterAddr > s.Addr+maxBehind || s.AfterAddr >= end ||
				s.AfterRegister.String() == "none") {
				t.Errorf("behind site %+v", s)
			}
		}
	})
}
