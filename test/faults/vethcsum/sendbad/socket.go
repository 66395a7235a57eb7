// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// send gives count frames of p to the device.
func send(device int, p packet, count int) error {
	// Protocol 0: the socket itself gets no packets.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a packet socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	to := &unix.SockaddrLinklayer{Ifindex: device}
	for n := range count {
		if err := unix.Sendto(fd, p.frame(n+1), 0, to); err != nil {
			return fmt.Errorf("packet %d of %d: %w", n+1, count, err)
		}
	}
	return nil
}

// receive counts datagrams until all have come or the time is over. That fewer
// came is no error: it is what is to be learnt.
func receive(port uint16, count int, wait time.Duration) error {
	conn, err := net.ListenPacket("udp4", fmt.Sprintf(":%d", port))
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	fmt.Println("listening") // from here on nothing is missed
	buf := make([]byte, 2048)
	got := 0
	for got < count {
		_, _, err := conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return fmt.Errorf("receiving: %w", err)
		}
		got++
	}
	fmt.Printf("received %d\n", got)
	return nil
}
