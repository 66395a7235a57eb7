// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/test/lab/agent"
)

// serve greets the host and obeys it until the line breaks.
func serve(failed []string) error {
	port, err := openLine()
	if err != nil {
		return fmt.Errorf("opening the agent's line: %w", err)
	}
	release, err := kernelRelease()
	if err != nil {
		return err
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return fmt.Errorf("reading the uptime: %w", err)
	}
	out := agent.NewWriter(port)
	greeting := agent.Greeting{Release: release, UptimeMillis: now.Nano() / int64(time.Millisecond), Failed: failed}
	if err := send(out, agent.Hello, 0, greeting); err != nil {
		return err
	}
	table := newProcesses(out)
	in := bufio.NewReader(port)
	for {
		frame, err := agent.Read(in)
		if err != nil {
			return fmt.Errorf("serving the host: %w", err)
		}
		if err := table.handle(frame); err != nil {
			return fmt.Errorf("serving the host: %w", err)
		}
	}
}

// openLine opens the port that the host listens on.
func openLine() (*os.File, error) {
	for _, module := range []string{"virtio_pci", "virtio_console"} { // built in from 6.12
		if err := loadModule(module, nil); err != nil {
			return nil, err
		}
	}
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return nil, err
		}
		for _, file := range names {
			// A port that is just appearing has no name yet.
			if name, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(name)) == agent.PortName {
				return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(file)), os.O_RDWR, 0)
			}
		}
		if time.Since(start) > time.Minute {
			return nil, fmt.Errorf("no virtio port is named %s", agent.PortName)
		}
	}
}

// send writes a frame whose payload is a message.
func send(out *agent.Writer, kind agent.Type, id uint32, message any) error {
	payload, err := agent.Encode(message)
	if err != nil {
		return err
	}
	return out.Write(agent.Frame{Type: kind, ID: id, Payload: payload})
}
