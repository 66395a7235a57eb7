// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const oopsText = `[   12.345678] veth0: renamed from eth0
[   13.000001] BUG: kernel NULL pointer dereference, address: 0000000000000000
[   13.000002] #PF: supervisor write access in kernel mode
[   13.000003] Oops: 0002 [#1] PREEMPT SMP NOPTI
[   13.000004] RIP: 0010:sysrq_handle_crash+0x16/0x20
[   13.000005] Kernel panic - not syncing: Fatal exception
`

func TestCauseOfDeath(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"an oops says more than the panic that it leads to", oopsText, "Oops: 0002 [#1] PREEMPT SMP NOPTI"},
		{
			"a panic on purpose", "[    1.0] sysrq: Trigger a crash\n[    1.1] Kernel panic - not syncing: sysrq triggered crash\n",
			"Kernel panic - not syncing: sysrq triggered crash",
		},
		{
			"the guest's own last words", "lab guest: switching to the root on /dev/vda: mounting: invalid argument\n[ 2.0] reboot: Restarting\n",
			"lab guest: switching to the root on /dev/vda: mounting: invalid argument",
		},
		{"a warning that was survived is no cause", "[    1.0] WARNING: CPU: 0 PID: 1 at net/core/dev.c:1\n[    2.0] reboot: Power down\n", ""},
		{"silence", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := causeOfDeath(tt.text); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestComplaints(t *testing.T) {
	text := `[    3.0] WARNING: CPU: 1 PID: 99 at kernel/x.c:1 f+0x1/0x2
[    3.1] Modules linked in: veth WARNING: not at the start
[    4.0] INFO: task ip:77 blocked for more than 120 seconds.
[   10.0] unregister_netdevice: waiting for veth0 to become free. Usage count = 2
` + oopsText
	want := []string{
		"WARNING: CPU: 1 PID: 99 at kernel/x.c:1 f+0x1/0x2",
		"INFO: task ip:77 blocked for more than 120 seconds.",
		"BUG: kernel NULL pointer dereference, address: 0000000000000000",
		"Oops: 0002 [#1] PREEMPT SMP NOPTI",
		"Kernel panic - not syncing: Fatal exception",
	}
	if diff := cmp.Diff(want, complaints(text)); diff != "" {
		t.Errorf("complaints (-want +got):\n%s", diff)
	}
}

func TestConsoleKeepsTheEnd(t *testing.T) {
	log := &strings.Builder{}
	c := &console{log: log}
	line := strings.Repeat("x", 99) + "\r\n"
	for range 4 * consoleLimit / 100 {
		if _, err := c.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Write([]byte("the end\r\n")); err != nil {
		t.Fatal(err)
	}
	text := c.String()
	if len(text) > consoleLimit || !strings.HasSuffix(text, "x\nthe end\n") || strings.Contains(text, "\r") {
		t.Errorf("%d bytes, ending in %q", len(text), text[max(0, len(text)-20):])
	}
	if lines := strings.Split(tail(text), "\n"); len(lines) != tailLines || lines[tailLines-1] != "the end" {
		t.Errorf("the tail has %d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
	if log.Len() < 4*consoleLimit {
		t.Errorf("the log has only %d bytes", log.Len())
	}
}

func FuzzConsole(f *testing.F) {
	f.Add(oopsText)
	f.Add("Kernel panic")
	f.Fuzz(func(t *testing.T, text string) {
		for _, line := range append(complaints(text), causeOfDeath(text)) {
			if strings.Contains(line, "\n") {
				t.Errorf("more than one line: %q", line)
			}
		}
	})
}
