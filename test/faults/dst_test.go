// SPDX-License-Identifier: Apache-2.0

package faults_test

import (
	"strings"
	"testing"

	"github.com/netns-trace/netns-trace/test/lab"
)

func TestDstfail(t *testing.T) {
	onKernels(t, lab.KernelNames(), func(t *testing.T, cache lab.Cache, kernel lab.Kernel) {
		ko, err := lab.BuildModule(t.Context(), cache, kernel, "dstfail")
		if err != nil {
			t.Fatal(err)
		}
		vm := boot(t, lab.Config{Cache: cache, Kernel: kernel, Files: map[string]string{"/dstfail.ko": ko}})
		out := sh(t, vm, `
			insmod /dstfail.ko
			ip link set lo up
			ask() { for i in 1 2 3 4 5 6 7; do ip route get $1 2>&1 || true; done; }
			cd /sys/kernel/debug/dstfail
			echo 3 4 > fail
			ask ::1 > /six; ask 127.0.0.1 > /four
			grep -c 'No buffer space' /four; grep -c 'unreachable' /six || true; cat left
			echo 2 6 > fail
			ask 127.0.0.1 > /four; ask ::1 > /six
			grep -c 'No buffer space' /four || true; grep -c 'unreachable' /six; cat left
			echo 5 4 999999 > fail
			ask 127.0.0.1 > /four
			grep -c 'No buffer space' /four || true; cat left
			if echo 5 5 > fail; then echo 'accepted a third family'; fi
			rmmod dstfail
			ask 127.0.0.1 | grep -c lo`)
		want := "3 0 0  0 2 0  0 5  7"
		if got := strings.Join(strings.Fields(out), " "); got != strings.Join(strings.Fields(want), " ") {
			t.Errorf("failures of IPv4 and IPv6, and what was left: %s, want %s", got, want)
		}
	})
}

func TestDstcross(t *testing.T) {
	onKernels(t, lab.KernelNames(), func(t *testing.T, cache lab.Cache, kernel lab.Kernel) {
		ko, err := lab.BuildModule(t.Context(), cache, kernel, "dstcross")
		if err != nil {
			t.Fatal(err)
		}
		vm := boot(t, lab.Config{Cache: cache, Kernel: kernel, Files: map[string]string{"/dstcross.ko": ko}})
		// The sixth number of rt6_stats is the counter, in hexadecimal. It is the fast
		// one: off by what a CPU has not handed over, which is less than 32.
		out := sh(t, vm, `
			insmod /dstcross.ko
			cd /sys/kernel/debug/dstcross
			ip netns add a; ip netns add b
			ip -n a link set lo up; ip -n b link set lo up
			exec 3</run/netns/a 4</run/netns/b
			count() { echo $1 $(ip netns exec $2 awk '{print $6}' /proc/net/rt6_stats); }
			echo 4096 3 > hold; count held a
			echo 4096 3 nocount > hold; count nocount a
			echo > undo; sleep 1; count released a
			echo 4096 3 4 > cross; sleep 1; count crossed a; count crossed b
			echo > undo; count right a; count right b
			echo 4096 3 > flags; sleep 1; count flags a
			echo > undo; count right a
			echo -4096 4 > stray; count stray b
			echo > undo; count right b
			echo 3 4 > share; echo 4096 4 > hold; count shared a
			echo > undo; sleep 1; count right b
			if echo 1 99 > hold; then echo 'accepted what is no namespace'; fi
			if echo 0 3 > hold; then echo 'accepted a count of 0'; fi
			rmmod dstcross
			exec 3<&- 4<&-
			ip netns del a; ip netns del b; sleep 2; echo done`)
		for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
			t.Log(line)
		}
		if !strings.HasSuffix(out, "done\n") || strings.Contains(out, "accepted") {
			t.Errorf("it did not do what it should:\n%s", out)
		}
	})
}
