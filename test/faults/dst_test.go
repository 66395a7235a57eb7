// SPDX-License-Identifier: Apache-2.0

package faults_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
			cd /sys/kernel/debug/dstfail
			# A route that was found is kept: each step has a namespace of its own.
			ask() {
				ip netns add n$1; ip -n n$1 link set lo up
				for i in 1 2 3 4 5 6 7; do ip -n n$1 route get $2 2>&1 || true; done >/out
				echo $(grep -c 'No buffer space' /out) $(grep -c 'unreachable' /out) left $(cat left)
				ip netns del n$1
			}
			echo 3 4 > fail; ask 1 ::1; ask 2 127.0.0.1
			echo 2 6 > fail; ask 3 127.0.0.1; ask 4 ::1
			echo 5 4 999999 > fail; ask 5 127.0.0.1
			if echo 5 5 > fail; then echo 'accepted a third family'; fi
			rmmod dstfail`)
		want := []string{"0 0 left 3", "3 0 left 0", "0 0 left 2", "0 2 left 0", "0 0 left 5"}
		if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(out), "\n")); diff != "" {
			t.Errorf("failures of IPv4 and IPv6, and what was left (-want +got):\n%s", diff)
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
		// The sixth number of rt6_stats is the counter, in hexadecimal; below 0 it says 0.
		out := sh(t, vm, `
			insmod /dstcross.ko
			cd /sys/kernel/debug/dstcross
			ip netns add a; ip netns add b
			ip -n a link set lo up; ip -n b link set lo up
			exec 3</run/netns/a 4</run/netns/b
			count() { echo $1 $(ip netns exec $2 cut -d ' ' -f 6 /proc/net/rt6_stats); }
			echo 4096 3 > hold; count held a
			echo 4096 3 nocount > hold; count uncounted a
			echo > undo; sleep 1; count released a
			echo 4096 3 4 > cross; sleep 1; count charged a; count credited b
			echo > undo; count right a; count right b
			echo 4096 3 > flags; sleep 1; count flags a
			echo > undo; count right a
			echo 4096 4 > stray; count stray b
			echo > undo; count right b
			echo 3 4 > share; echo 16 4 > hold; count shared a
			echo > undo; sleep 1; count right b
			if echo 1 2 > hold; then echo 'accepted what is no namespace'; fi
			if echo 0 3 > hold; then echo 'accepted a count of 0'; fi
			rmmod dstcross
			exec 3<&- 4<&-
			ip netns del a; ip netns del b; sleep 2; echo deleted`)
		want := []string{
			"held 1000", "uncounted 1000", "released 0000", "charged 1000", "credited 0000", "right 0000", "right 0000",
			"flags 1000", "right 0000", "stray 1000", "right 0000", "shared 0010", "right 0000", "deleted",
		}
		if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(out), "\n")); diff != "" {
			t.Errorf("counters (-want +got):\n%s", diff)
		}
	})
}
