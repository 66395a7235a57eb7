// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	environment := map[string]string{"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}
	n := FromEnvironment(func(name string) string { return environment[name] }, 7)
	if n.Watchdog() != 30*time.Second {
		t.Errorf("watchdog: %s", n.Watchdog())
	}
	for want, tell := range map[string]func() error{
		"READY=1\nSTATUS=watching":     func() error { return n.Ready("watching") },
		"RELOADING=1\nMONOTONIC_USEC=": n.Reloading,
		"STOPPING=1":                   n.Stopping,
		"WATCHDOG=1":                   n.Alive,
	} {
		if err := tell(); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 200)
		if err := l.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		size, _, err := l.ReadFrom(buf)
		if err != nil || !strings.HasPrefix(string(buf[:size]), want) {
			t.Errorf("got %q, %v; want %q", buf[:size], err, want)
		}
	}
	if n := FromEnvironment(func(name string) string { return environment[name] }, 8); n.Watchdog() != 0 {
		t.Error("another process's watchdog was taken for this one's")
	}
}

func TestNobodyToTell(t *testing.T) {
	n := FromEnvironment(func(string) string { return "" }, 7)
	if err := n.Ready(""); err != nil || n.Watchdog() != 0 {
		t.Errorf("%v, %s", err, n.Watchdog())
	}
	gone := FromEnvironment(func(name string) string {
		return map[string]string{"NOTIFY_SOCKET": filepath.Join(t.TempDir(), "none")}[name]
	}, 7)
	if err := gone.Ready(""); err == nil {
		t.Error("a socket that is not there was told")
	}
}
