// SPDX-License-Identifier: Apache-2.0

// Package systemd tells the service manager how the service is: sd_notify(3), the
// protocol of NOTIFY_SOCKET. Without one it tells nobody.
package systemd

import (
	"fmt"
	"net"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Notifier is the way to the service manager. A nil one leads nowhere.
type Notifier struct {
	socket   string
	watchdog time.Duration
}

// FromEnvironment reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID with getenv. It is
// nil when there is nobody to tell.
func FromEnvironment(getenv func(string) string, pid int) *Notifier {
	n := &Notifier{socket: getenv("NOTIFY_SOCKET")}
	if n.socket == "" {
		return nil
	}
	usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	whose := getenv("WATCHDOG_PID")
	if err == nil && usec > 0 && (whose == "" || whose == strconv.Itoa(pid)) {
		n.watchdog = time.Duration(usec) * time.Microsecond
	}
	return n
}

// Watchdog is how often the service manager wants to hear Alive; 0: it does not.
func (n *Notifier) Watchdog() time.Duration {
	if n == nil {
		return 0
	}
	return n.watchdog
}

// Ready says that the service has started, or has read its settings again.
func (n *Notifier) Ready(status string) error { return n.tell("READY=1\nSTATUS=" + status) }

// Reloading says that the settings are being read; Ready has to follow.
func (n *Notifier) Reloading() error {
	var ts unix.Timespec
	// This clock exists everywhere: the call cannot fail.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return n.tell(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", ts.Nano()/1000))
}

// Stopping says that the service ends.
func (n *Notifier) Stopping() error { return n.tell("STOPPING=1") }

// Alive says that the service does its work.
func (n *Notifier) Alive() error { return n.tell("WATCHDOG=1") }

func (n *Notifier) tell(state string) error {
	if n == nil {
		return nil
	}
	// net takes a leading @ for an abstract socket, as systemd does.
	c, err := net.Dial("unixgram", n.socket)
	if err != nil {
		return fmt.Errorf("telling the service manager: %w", err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(state)); err != nil {
		return fmt.Errorf("telling the service manager: %w", err)
	}
	return nil
}
