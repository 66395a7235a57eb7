// SPDX-License-Identifier: Apache-2.0

package textprobe

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// events is /sys/kernel/tracing/kprobe_events, with events of others among ours.
const events = `p:kprobes/mine ip_rcv
p:nt_783_2790/s_1 0x000000002c3ac146 id=\1:u32
p:nt_783_2790/s_1 0x0000000054e1844f id=\10:u32
r4:nt_783_2790/theirs icmp_rcv ret=$retval
p:nt_783_27901/s_1 0x00000000e2e70033 id=\1:u32
e:eprobes/x syscalls/sys_enter_openat file=+0($filename):ustring
`

func TestOnlyChosenDefinitionsAreDeletedByTheirWholeLine(t *testing.T) {
	lines, err := definitions(strings.NewReader(events), func(line string) bool {
		return strings.HasPrefix(line, "p:nt_783_2790/s_")
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range lines {
		got = append(got, deletion(line))
	}
	want := []string{
		"-:nt_783_2790/s_1 0x000000002c3ac146 id=\\1:u32\n",
		"-:nt_783_2790/s_1 0x0000000054e1844f id=\\10:u32\n",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// Of one that is gone, and whose definitions are still being deleted, and of others.
func TestMissedHitsAreThoseOfOwnEvents(t *testing.T) {
	const profile = `  s783_A_1                                                       42               0
  s783_A_1                                                        7               2
  s783_A_2                                                        1               1
  s783_B_1                                                        1              16
  s78_A_1                                                         1              32
  myprobe                                                         1              64
`
	n, err := countMissed(strings.NewReader(profile), "s783_A_")
	if err != nil || n != 3 {
		t.Errorf("%d missed, %v, want 3", n, err)
	}
	if _, err := countMissed(strings.NewReader("  s783_A_1  1  many\n"), "s783_A_"); err == nil {
		t.Error("what is no number is taken")
	}
}

func TestOptimizedCountsTheGivenAddressesOnly(t *testing.T) {
	const list = `ffffffffa7cdf5f4  k  ip_rcv+0x4    [FTRACE]
ffffffffa7c1d094  k  dev_get_by_index+0x94    [OPTIMIZED]
ffffffffa7c1d094  k  dev_get_by_index+0x94    [OPTIMIZED]
ffffffffa7c1d0a4  k  dev_get_by_index+0xa4    [DISABLED]
ffffffffa7d2ca34  k  udp_rcv+0x34    [OPTIMIZED]
ffffffffc0a00010  k  veth_newlink+0x10  veth  [OPTIMIZED]
`
	targets := []Target{{Addr: 0xffffffffa7c1d094}, {Addr: 0xffffffffa7c1d0a4}, {Addr: 0xffffffffc0a00010, Module: "veth"}}
	if n, ok := countOptimized(strings.NewReader(list), targets); n != 2 || !ok {
		t.Errorf("%d of 3 are optimised, %v; want 2, true", n, ok)
	}
	for _, hidden := range []string{"0000000000000000  k  ip_rcv+0x4    [OPTIMIZED]\n", "what is this\n"} {
		if n, ok := countOptimized(strings.NewReader(hidden), targets); ok {
			t.Errorf("%q: %d were counted", hidden, n)
		}
	}
}
