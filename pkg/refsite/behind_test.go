// SPDX-License-Identifier: Apache-2.0

package refsite

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
)

// Where a probe that sees the reference stays a breakpoint: the code is that of Debian's 6.12.
func TestBehind(t *testing.T) {
	const load = "48 8b 83 70 05 00 00 " // mov 0x570(%rbx),%rax
	for name, test := range map[string]struct {
		code     string
		branches []uint64
		want     string // bytes behind the site, and what is where; empty: none
	}{
		"the register is set for a call": {
			code: load + "65 ff 00  48 89 df  e8 00 00 00 00  c3", // br_add_if: incl, mov %rbx,%rdi, call
			want: "3 rax",
		},
		"at the call itself": {
			code: load + "65 ff 00  be 01 00 00 00  48 89 df  e8 00 00 00 00  c3", // vif_add: mov $1,%esi, mov %rbx,%rdi
			want: "8 rax",
		},
		"the pointer is gone, the device is not": {
			code: load + "65 ff 08  41 8b 44 24 14  85 c0  74 01  c3  c3", // do_ip_setsockopt: mov 0x14(%r12),%eax, test, je
			want: "8 device in rbx",
		},
		"both are gone": {
			code: load + "65 ff 08  48 8b 03  48 8b 1b  31 ed  74 01  c3  c3",
		},
		"the device is gone where the pointer was loaded over it": {
			code: "48 8b 80 70 05 00 00  65 ff 00  48 8b 03  31 ed 74 01 c3 c3", // mov 0x570(%rax),%rax
		},
		"the end of the function": {
			code: load + "65 ff 08  5b  5d  c3  cc cc cc cc cc",
			want: "3 rax",
		},
		"a breakpoint already": {
			code: load + "65 ff 08  74 01  c3  c3", // je
		},
		"somebody jumps in between": {
			code: "74 0a " + load + "65 ff 00  48 89 df  48 89 df  e8 00 00 00 00  c3", // je to the first mov
		},
		"a static branch that is off leads in between": {
			code:     load + "65 ff 00  48 89 df  e8 00 00 00 00  c3",
			branches: []uint64{10},
		},
		"a static branch leads to the site": {
			code:     load + "65 ff 00  48 89 df  e8 00 00 00 00  c3",
			branches: []uint64{7},
			want:     "3 rax",
		},
		"another site comes first": {
			code: load + "65 ff 08  48 8b 8d 70 05 00 00  65 ff 09  31 ed  74 01  c3  c3",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := assemble(t, "", "f", test.code)
			p.branches = test.branches
			sites, err := Scan(t.Context(), p, []Range{{textBase, textBase + uint64(len(p.text))}}, p, device)
			if err != nil || len(sites) == 0 {
				t.Fatalf("Scan: %d sites, %v", len(sites), err)
			}
			if got := describeBehind(sites[0]); got != test.want {
				t.Errorf("behind the site: %q, want %q", got, test.want)
			}
		})
	}
}

func describeBehind(s Site) string {
	switch {
	case s.AfterAddr == 0:
		return ""
	case s.AfterDevice:
		return fmt.Sprintf("%d device in %s", s.AfterAddr-s.Addr, s.AfterRegister)
	}
	return fmt.Sprintf("%d %s", s.AfterAddr-s.Addr, s.AfterRegister)
}

// A cold part comes back behind the site: what is counted there was not at the site.
func TestBehindAndCold(t *testing.T) {
	const code = "48 8b 83 70 05 00 00  65 ff 00  48 89 df  48 89 df  e8 00 00 00 00  c3"
	const cold = "e9 f2 ff ff ff" // to the second mov
	for _, test := range []struct {
		functions []string
		want      string
	}{
		{[]string{"f", code}, "6 rax"},
		{[]string{"f", code, "f.cold", cold}, ""},
	} {
		p := assemble(t, "", test.functions...)
		sites, err := Scan(t.Context(), p, []Range{{textBase, textBase + uint64(len(p.text))}}, p, device)
		if err != nil || len(sites) != 1 {
			t.Fatalf("Scan: %d sites, %v", len(sites), err)
		}
		if got := describeBehind(sites[0]); got != test.want {
			t.Errorf("%d functions: behind the site: %q, want %q", len(test.functions), got, test.want)
		}
	}
}

func TestJumpTargets(t *testing.T) {
	const start = 0xffffffff82000000
	table := make([]byte, 2*jumpEntrySize+3)
	for i, to := range []int32{0x100, -0x2000} {
		binary.LittleEndian.PutUint32(table[i*jumpEntrySize+4:], uint32(to))
	}
	want := []uint64{start + jumpEntrySize + 4 - 0x2000, start + 4 + 0x100}
	if got := jumpTargets(table, start); !slices.Equal(got, want) {
		t.Errorf("targets %#x, want %#x", got, want)
	}
}
