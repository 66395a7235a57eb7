// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"slices"
	"strings"
	"testing"
)

// Symbols that were found elsewhere than in /proc/kallsyms make the same table.
func TestNewSymbols(t *testing.T) {
	read, err := ReadSymbols(strings.NewReader("ffffffff81000000 T _stext\nffffffff81000010 t helper\nffffffffc0000000 t bind\t[llc2]\nffffffff81000020 T _etext\n"))
	if err != nil {
		t.Fatal(err)
	}
	noise := []Symbol{{Addr: 0xffffffff81000018}, {Name: "zero\x00byte", Addr: 0xffffffff81000019}}
	made, err := NewSymbols(func(yield func(Symbol) bool) {
		for s := range read.All() {
			if !yield(s) {
				return
			}
		}
		for _, s := range noise {
			yield(s)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Collect(made.All()), slices.Collect(read.All()); !slices.Equal(got, want) || len(got) != 4 {
		t.Errorf("symbols %+v, want %+v", got, want)
	}
	if made.Malformed() != len(noise) {
		t.Errorf("%d were left out, want %d", made.Malformed(), len(noise))
	}
	for _, addr := range []uint64{0xffffffff81000014, 0xffffffffc0000008} {
		got, okGot := made.Resolve(addr)
		want, okWant := read.Resolve(addr)
		if got != want || !okGot || !okWant {
			t.Errorf("%#x is %+v, want %+v", addr, got, want)
		}
	}
	if _, err := NewSymbols(func(func(Symbol) bool) {}); err == nil {
		t.Error("no symbol at all is no error")
	}
}
