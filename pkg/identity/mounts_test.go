// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNetnsMountsOfEveryMountNamespace(t *testing.T) {
	h := newHost(t)
	task := func(pid, tid, mnt, mountinfo string) {
		h.link("proc/"+pid+"/task/"+tid+"/ns/mnt", "mnt:["+mnt+"]")
		h.write("proc/"+pid+"/task/"+tid+"/mountinfo", mountinfo)
	}
	h.link("proc/1/ns/mnt", "mnt:[4026531841]")
	host := "25 1 8:1 / / rw - ext4 /dev/sda1 rw\n" +
		"36 25 0:4 net:[4026532254] /run/netns/red rw shared:7 - nsfs nsfs rw\n" +
		"37 25 0:4 mnt:[4026532300] /run/snapd/ns/lxd.mnt rw - nsfs nsfs rw\n"
	task("1", "1", "4026531841", host)
	task("300", "300", "4026531841", host)
	// A service with a mount namespace of its own that `ip netns del` did not reach,
	// and one of its threads with another.
	task("300", "301", "4026532301", "90 80 0:4 net:[4026532254] /tmp/a\\040b\\134 rw master:7 - nsfs nsfs rw\n")

	got, err := New(h.root).NetnsMounts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := &NetnsMounts{Namespaces: 2, Mounts: []NetnsMount{
		{Inode: 4026532254, MountNS: 4026531841, Initial: true, PID: 1, Path: "/run/netns/red"},
		{Inode: 4026532254, MountNS: 4026532301, PID: 300, Path: `/tmp/a b\`},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNetnsMountsAreBounded(t *testing.T) {
	line := "36 25 0:4 net:[4026532254] /run/netns/red rw - nsfs nsfs rw\n"
	got, err := readNetnsMounts(strings.NewReader(strings.Repeat(line, 5)), 3)
	if len(got) != 3 || !errors.Is(err, errTooManyMounts) {
		t.Errorf("%d mounts and error %v, want 3 and that there are more", len(got), err)
	}
}

func FuzzNetnsMount(f *testing.F) {
	f.Add([]byte("36 25 0:4 net:[4026532254] /run/netns/red rw shared:7 - nsfs nsfs rw"))
	f.Add([]byte("36 25 0:4 net:[1] /a\\040b rw - nsfs nsfs rw"))
	f.Add([]byte(" - nsfs "))
	f.Add([]byte("1 2 3 net:[5] \\777\\04 - nsfs x"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if m, ok := parseNetnsMount(line); ok && m.Inode == 0 {
			t.Errorf("parseNetnsMount(%q) = %+v, true", line, m)
		}
	})
}
