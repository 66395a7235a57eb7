// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// table is cut down from a 6.1 kernel: per-CPU offsets, aliases, a static
// function twice, clones, two modules out of order, BPF and ftrace lines.
const table = `0000000000000000 A fixed_percpu_data
000000000002f000 A cpu_tss_rw
ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff81000040 T secondary_startup_64
ffffffff81000100 t packet_release
ffffffff81000200 t packet_release
ffffffff81000300 T __x64_sys_read
ffffffff81000300 T __ia32_sys_read
ffffffff81000340 t __netif_receive_skb_core.constprop.0
ffffffff81000800 t xfrm_alloc_dst.part.33
ffffffff81000880 t xfrm_alloc_dst.part.33.cold
ffffffff810008c0 t dst_gc.isra.0.constprop.2
ffffffff81000900 W arch_weak
ffffffff81001000 T _etext
ffffffff81f00000 T _sinittext
ffffffff81f00000 t init_only
ffffffff81f01000 T _einittext
ffffffff82000000 D init_task
ffffffff82000100 b netdev_unregister_timeout_secs
ffffffff82200000 B _end
ffffffffc0b01000 t tun_get_user	[tun]
ffffffffc0b01400 t tun_net_xmit	[tun]
ffffffffc0b02000 r tun_fops	[tun]
ffffffffc0a00000 t veth_xmit	[veth]
ffffffffc0a00500 t veth_poll	[veth]
ffffffffc0a00f10 t veth_exit	[veth]
ffffffffc0c00000 t bpf_prog_6deef7357e7b4530	[bpf]
ffffffffc0d00000 t ftrace_trampoline	[__builtin__ftrace]
`

func mustRead(t testing.TB, text string) *Symbols {
	t.Helper()
	s, err := ReadSymbols(strings.NewReader(text))
	if err != nil {
		t.Fatalf("ReadSymbols: %v", err)
	}
	return s
}

func TestResolvePrintsWhatTheKernelPrints(t *testing.T) {
	s := mustRead(t, table)
	for _, tc := range []struct {
		what string
		addr uint64
		want string
	}{
		{"first symbol of an address wins, as in get_symbol_pos", 0xffffffff81000004, "_stext+0x4/0x40"},
		{"alias at one address does not make size 0", 0xffffffff81000304, "__x64_sys_read+0x4/0x40"},
		{"function entry", 0xffffffff81000040, "secondary_startup_64+0x0/0xc0"},
		{"last byte", 0xffffffff810000ff, "secondary_startup_64+0xbf/0xc0"},
		{"clone keeps its suffix", 0xffffffff81000350, "__netif_receive_skb_core.constprop.0+0x10/0x4c0"},
		{"init text keeps its name, as in a trace of a boot failure", 0xffffffff81f00010, "_sinittext+0x10/0x1000"},
		{"kernel data", 0xffffffff82000010, "init_task+0x10/0x100"},
		{"module", 0xffffffffc0a00510, "veth_poll+0x10/0xa10 [veth]"},
		{"modules that kallsyms lists out of order", 0xffffffffc0b01401, "tun_net_xmit+0x1/0xc00 [tun]"},
		{"last function of a module ends with its page", 0xffffffffc0a00fff, "veth_exit+0xef/0xf0 [veth]"},
		{"BPF programs have no brackets in %pS", 0xffffffffc0c00010, "bpf_prog_6deef7357e7b4530+0x10/0x100000"},
		{"trampolines are no modules", 0xffffffffc0d00010, "ftrace_trampoline+0x10/0x200000"},
		{"past the end of the image", 0xffffffff82200010, "0xffffffff82200010"},
		{"gap after a module", 0xffffffffc0a01000, "0xffffffffc0a01000"},
		{"per-CPU offset is no address", 0x2f010, "0x000000000002f010"},
		{"user address", 0x00007f0000001234, "0x00007f0000001234"},
		{"before the first symbol", 0xffff800000000000, "0xffff800000000000"},
		{"top of the address space", ^uint64(0), "0xffffffffffffffff"},
	} {
		f, ok := s.Resolve(tc.addr)
		if got := f.String(); got != tc.want {
			t.Errorf("%s: Resolve(%#x) prints %q, want %q", tc.what, tc.addr, got, tc.want)
		}
		if named := !strings.HasPrefix(tc.want, "0x"); ok != named {
			t.Errorf("%s: Resolve(%#x) ok = %v, want %v", tc.what, tc.addr, ok, named)
		}
	}
}

func TestLookupFindsAllStaticFunctionsOfOneName(t *testing.T) {
	s := mustRead(t, table)
	for _, tc := range []struct {
		what string
		got  []Symbol
		want []uint64
	}{
		{"repeated static", s.Lookup("packet_release"), []uint64{0xffffffff81000100, 0xffffffff81000200}},
		{"weak function", s.Lookup("arch_weak"), []uint64{0xffffffff81000900}},
		{"data is not text", s.Lookup("init_task"), nil},
		{"data lookup", s.LookupData("init_task"), []uint64{0xffffffff82000000}},
		{"text is not data", s.LookupData("veth_xmit"), nil},
		{"no prefix match", s.Lookup("packet_rel"), nil},
		{"empty name", s.Lookup(""), nil},
		{"clone is not exact", s.Lookup("xfrm_alloc_dst"), nil},
		{"exact before clones", s.LookupClone("packet_release"), []uint64{0xffffffff81000100, 0xffffffff81000200}},
		{"part clone, never its cold part", s.LookupClone("xfrm_alloc_dst"), []uint64{0xffffffff81000800}},
		{"constprop clone", s.LookupClone("__netif_receive_skb_core"), []uint64{0xffffffff81000340}},
		{"stacked clone suffixes", s.LookupClone("dst_gc"), []uint64{0xffffffff810008c0}},
		{"absent", s.LookupClone("veth_forward_skb"), nil},
		{"module function", s.Lookup("veth_xmit"), []uint64{0xffffffffc0a00000}},
	} {
		var got []uint64
		for _, sym := range tc.got {
			got = append(got, sym.Addr)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.what, diff)
		}
	}
}

func TestCloneSuffix(t *testing.T) {
	for suffix, want := range map[string]bool{
		".isra.0": true, ".constprop.118": true, ".part.33": true, ".constprop.0.isra.1": true,
		".cold": false, ".part.0.cold": false, ".isra.": false, ".isra": false, "": true, ".llvm.123": false, "_x.isra.0": false,
	} {
		if got := isCloneSuffix([]byte(suffix)); got != want {
			t.Errorf("isCloneSuffix(%q) = %v, want %v", suffix, got, want)
		}
	}
}

func TestFunctionsMarksTheLastOfEachModule(t *testing.T) {
	s := mustRead(t, table)
	var last []string
	var prev uint64
	n := 0
	for f := range s.Functions() {
		if f.Start < prev || f.End <= f.Start {
			t.Errorf("function %#x..%#x after %#x", f.Start, f.End, prev)
		}
		prev = f.End
		n++
		if isLabel(f.Module) {
			t.Errorf("%#x: %q is no kernel text", f.Start, f.Module)
		}
		if f.Last {
			frame, _ := s.Resolve(f.Start)
			last = append(last, frame.String())
		}
	}
	if n != 15 {
		t.Errorf("%d functions, want 15", n)
	}
	want := []string{"veth_exit+0x0/0xf0 [veth]", "tun_net_xmit+0x0/0xc00 [tun]"}
	if diff := cmp.Diff(want, last); diff != "" {
		t.Errorf("last functions (-want +got):\n%s", diff)
	}
}

func TestReadSymbolsInput(t *testing.T) {
	for _, tc := range []struct {
		what, in  string
		symbols   int
		malformed int
		hidden    bool
		wantErr   bool
	}{
		{what: "kptr_restrict", in: "0000000000000000 T _text\n0000000000000000 t veth_xmit\t[veth]\n", hidden: true, wantErr: true},
		{what: "empty", in: "", wantErr: true},
		{what: "another file", in: "<html>\n<body>\n", wantErr: true},
		{what: "no newline at the end", in: "ffffffff81000000 T _text", symbols: 1},
		{what: "blank lines are no damage", in: "\nffffffff81000000 T _text\n\n", symbols: 1},
		{what: "CRLF of a pasted table", in: "ffffffff81000000 T _text\r\n", symbols: 1},
		{what: "space instead of tab", in: "ffffffff81000000 t f [veth]\n", symbols: 1},
		{what: "odd module names", in: "ffffffff81000000 t f\t[a b]\nffffffff81000001 t g\t[x]y]\nffffffff81000002 t h\t[\xff]\n", symbols: 3},
		{what: "module without a name", in: "ffffffff81000000 t f\t[]\nffffffff81000000 T ok\n", symbols: 1, malformed: 1},
		{what: "bracket not closed", in: "ffffffff81000000 t f\t[veth\nffffffff81000000 T ok\n", symbols: 1, malformed: 1},
		{what: "address too long", in: "1ffffffff81000000 t f\nffffffff81000000 T ok\n", symbols: 1, malformed: 1},
		{what: "name with a zero byte", in: "ffffffff81000000 t f\x00g\nffffffff81000000 T ok\n", symbols: 1, malformed: 1},
		{what: "overlong line", in: "ffffffff81000000 t " + strings.Repeat("x", 200_000) + "\nffffffff81000000 T ok\n", symbols: 1, malformed: 1},
	} {
		s, err := ReadSymbols(strings.NewReader(tc.in))
		if (err != nil) != tc.wantErr || errors.Is(err, ErrSymbolsHidden) != tc.hidden {
			t.Errorf("%s: error %v", tc.what, err)
			continue
		}
		if err == nil && (s.Len() != tc.symbols || s.Malformed() != tc.malformed) {
			t.Errorf("%s: %d symbols, %d malformed; want %d, %d", tc.what, s.Len(), s.Malformed(), tc.symbols, tc.malformed)
		}
	}
}

func TestHiddenSymbolsErrorSaysWhatToDo(t *testing.T) {
	for _, word := range []string{"kernel.kptr_restrict", "CAP_SYSLOG"} {
		if !strings.Contains(ErrSymbolsHidden.Error(), word) {
			t.Errorf("%q does not name %s", ErrSymbolsHidden, word)
		}
	}
}

func TestLoadSymbolsOfThisKernel(t *testing.T) {
	s, err := LoadSymbols()
	if errors.Is(err, ErrSymbolsHidden) || errors.Is(err, os.ErrNotExist) {
		t.Skipf("this kernel shows no symbols: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if s.Malformed() != 0 {
		t.Errorf("%d lines of the kernel's own table were not understood", s.Malformed())
	}
	run := s.Lookup("schedule")
	if len(run) == 0 {
		t.Fatal("no function schedule")
	}
	if f, ok := s.Resolve(run[0].Addr + 1); !ok || f.Symbol != "schedule" || f.Offset != 1 {
		t.Errorf("one byte into schedule is %v", f)
	}
}

// realisticTable has n symbols with the name lengths of a distribution kernel
// (mean 22 bytes) and a fifth of them in modules, which come out of order.
func realisticTable(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		name := fmt.Sprintf("subsys%x_%s_%x", i%977, "some_function_name_of_length"[:5+i%20], i)
		if i < n*4/5 {
			fmt.Fprintf(&b, "%016x t %s\n", 0xffffffff81000000+uint64(i)*112, name)
			continue
		}
		module := (i * 100 / n)
		addr := 0xffffffffc0000000 + uint64(100-module)<<20 + uint64(i)*16
		fmt.Fprintf(&b, "%016x t %s\t[module%d]\n", addr, name, module)
	}
	return b.Bytes()
}

func TestTableOf200000SymbolsStaysSmall(t *testing.T) {
	text := realisticTable(200_000)
	before := liveHeap()
	s, err := ReadSymbols(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	used := int64(liveHeap()) - int64(before)
	runtime.KeepAlive(text)
	if limit := int64(12_000_000); used > limit {
		t.Errorf("%d symbols use %d bytes, want at most %d", s.Len(), used, limit)
	}
	t.Logf("%d symbols use %d bytes", s.Len(), used)
	runtime.KeepAlive(s)
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func FuzzReadSymbols(f *testing.F) {
	f.Add([]byte(table))
	f.Add([]byte("ffffffffffffffff t a\t[m]\nfffffffffffffffe D b\t[m]\n"))
	f.Add([]byte("8000000000000000 T _stext\nffffffffffffffff T _end\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := readSymbols(bytes.NewReader(data), 16)
		if err != nil {
			return
		}
		var prev uint64
		for fn := range s.Functions() {
			if fn.Start < prev {
				t.Fatalf("functions out of order at %#x", fn.Start)
			}
			prev = fn.Start
		}
		for i, a := range s.addrs[:min(len(s.addrs), 100)] {
			for _, addr := range []uint64{a, a - 1, a + 1} {
				fr, ok := s.Resolve(addr)
				if ok && (fr.Offset >= fr.Size || fr.Symbol == "") {
					t.Fatalf("Resolve(%#x) = %+v", addr, fr)
				}
			}
			name := string(s.name(i))
			if len(s.Lookup(name))+len(s.LookupData(name)) == 0 {
				t.Fatalf("symbol %q is not found by its name", name)
			}
			s.LookupClone(name)
		}
	})
}

func BenchmarkReadSymbols200000(b *testing.B) {
	text := realisticTable(200_000)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadSymbols(bytes.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoadSymbols(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := LoadSymbols(); err != nil {
			b.Skipf("this kernel shows no symbols: %v", err)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	s := mustRead(b, string(realisticTable(200_000)))
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		i++
		s.Resolve(0xffffffff81000000 + i*7919%(160_000*112))
	}
}

func BenchmarkLookup(b *testing.B) {
	s := mustRead(b, string(realisticTable(200_000)))
	b.ReportAllocs()
	for b.Loop() {
		s.Lookup("absent_function")
	}
}

func TestFunctionAtAgreesWithFunctions(t *testing.T) {
	s := mustRead(t, table)
	n := 0
	for f := range s.Functions() {
		n++
		for _, addr := range []uint64{f.Start, f.End - 1} {
			if got, ok := s.FunctionAt(addr); !ok || got != f {
				t.Errorf("FunctionAt(%#x) = %+v, %v, want %+v", addr, got, ok, f)
			}
		}
	}
	if n == 0 {
		t.Error("no functions")
	}
	for what, addr := range map[string]uint64{
		"init text, given away":    0xffffffff81f00010,
		"data":                     0xffffffff82000010,
		"past a module's last":     0xffffffffc0a01000,
		"a BPF program":            0xffffffffc0c00010,
		"before the first":         0,
		"a module's constant data": 0xffffffffc0b02010,
	} {
		if f, ok := s.FunctionAt(addr); ok {
			t.Errorf("%s: FunctionAt(%#x) = %+v", what, addr, f)
		}
	}
}
