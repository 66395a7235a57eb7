// SPDX-License-Identifier: Apache-2.0

package textprobe

import (
	"os"
	"testing"
)

func TestAGroupIsReadBackAsItWasNamed(t *testing.T) {
	for _, g := range []group{{1, 0}, {783, 2790}, {4194304, 18446744073709551615}} {
		if got, ok := parseGroup(g.String()); !ok || got != g {
			t.Errorf("parseGroup(%q) = %v, %v", g.String(), got, ok)
		}
	}
}

func TestGroupsOfOthersAreNotTakenForOurs(t *testing.T) {
	for _, name := range []string{
		"", "nt_", "nt_12", "nt_12_", "nt__5", "nt_x_5", "nt_12_x", "nt_-1_5", "nt_0_5", "nt_+1_5", "nt_012_5",
		"nt_1_05", "nt_1_-5", "nt_1_5_6", "nt_99999999999999999999_5", "ant_1_5", "NT_1_5", "kprobes", "bcc_1_5",
	} {
		if g, ok := parseGroup(name); ok {
			t.Errorf("%q was taken for a group of netns-trace: %v", name, g)
		}
	}
}

func TestAGroupIsDeadWhenItsProcessIs(t *testing.T) {
	own, err := ownGroup()
	if err != nil {
		t.Fatal(err)
	}
	if own.dead() {
		t.Errorf("%v is of this process, and said to be dead", own)
	}
	reused := group{own.pid, own.start - 1}
	if !reused.dead() {
		t.Errorf("%v is alive, but that pid started at %d", reused, own.start)
	}
	none := group{1 << 30, 5} // above any pid
	if !none.dead() {
		t.Errorf("%v is alive, but there is no such pid", none)
	}
	if own.pid != os.Getpid() {
		t.Errorf("own group is of pid %d", own.pid)
	}
}

func TestTheStartTimeIsFoundBehindAnyName(t *testing.T) {
	const after = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20\n"
	for _, name := range []string{"(sh)", "(a b)", "(a) b)", "()", "((x) 1 2 3)"} {
		got, err := parseStart("12 " + name + after)
		if err != nil || got != 4711 {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
	for _, bad := range []string{"", "12 (sh", "12 (sh) S 1 2", "12 (sh)" + " x x x x x x x x x x x x x x x x x x x x x x"} {
		if got, err := parseStart(bad); err == nil {
			t.Errorf("%q was read as %d", bad, got)
		}
	}
}

func FuzzParseGroup(f *testing.F) {
	f.Add("nt_783_2790")
	f.Add("nt_1_05")
	f.Fuzz(func(t *testing.T, name string) {
		if g, ok := parseGroup(name); ok && g.String() != name {
			t.Errorf("%q was read as %v", name, g)
		}
	})
}

func FuzzParseStart(f *testing.F) {
	f.Add("12 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20\n")
	f.Fuzz(func(_ *testing.T, stat string) { _, _ = parseStart(stat) })
}
