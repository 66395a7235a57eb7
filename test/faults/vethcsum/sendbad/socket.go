// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// shape is how the kernel is to keep the packets.
type shape struct {
	linear  int // bytes in one piece; 0: all
	segment int // bytes of a GSO segment; 0: no GSO
}

// vnetHeader is struct virtio_net_hdr, with which a packet socket is told so.
func (s shape) vnetHeader(p packet) []byte {
	h := make([]byte, 10)
	if s.segment > 0 {
		h[1] = 1 // VIRTIO_NET_HDR_GSO_TCPV4
		if !p.dstIP.Is4() {
			h[1] = 4 // VIRTIO_NET_HDR_GSO_TCPV6
		}
	}
	binary.NativeEndian.PutUint16(h[2:], uint16(s.linear))
	binary.NativeEndian.PutUint16(h[4:], uint16(s.segment))
	return h
}

// packetVnetHdr is PACKET_VNET_HDR of linux/if_packet.h.
const packetVnetHdr = 15

// send gives count frames of p to the device.
func send(device int, p packet, s shape, count int) error {
	// Protocol 0: the socket itself gets no packets.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a packet socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	var before []byte
	if s != (shape{}) {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, packetVnetHdr, 1); err != nil {
			return fmt.Errorf("saying how packets are to be kept: %w", err)
		}
		before = s.vnetHeader(p)
	}
	to := &unix.SockaddrLinklayer{Ifindex: device}
	for n := range count {
		err := unix.Sendto(fd, append(before, p.frame(n+1)...), 0, to)
		for errors.Is(err, unix.EINTR) {
			err = unix.Sendto(fd, append(before, p.frame(n+1)...), 0, to)
		}
		if err != nil {
			return fmt.Errorf("packet %d of %d: %w", n+1, count, err)
		}
	}
	return nil
}

// udpSegment is UDP_SEGMENT of linux/udp.h, since 4.18.
const udpSegment = 103

// sendCut has the kernel cut count packets of an ordinary socket into ten each.
func sendCut(to string, size, count int) error {
	conn, err := net.Dial("udp", to)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if err := setOption(conn, unix.IPPROTO_UDP, udpSegment, size); err != nil {
		return fmt.Errorf("asking for UDP GSO: %w", err)
	}
	for range count {
		if _, err := conn.Write(make([]byte, 10*size)); err != nil {
			return fmt.Errorf("sending: %w", err)
		}
	}
	fmt.Printf("sent %d\n", 10*count)
	return nil
}

// setOption sets an option of a UDP socket.
func setOption(conn any, level, option, value int) error {
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		return err
	}
	var optErr error
	err = raw.Control(func(fd uintptr) { optErr = unix.SetsockoptInt(int(fd), level, option, value) })
	return errors.Join(err, optErr)
}

// receive counts datagrams until all have come or the time is over. That fewer
// came is no error: it is what is to be learnt.
func receive(port uint16, count int, wait time.Duration) error {
	conn, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	// Otherwise a busy machine drops what this program was too slow to take.
	if err := setOption(conn, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
		return fmt.Errorf("enlarging the socket's buffer: %w", err)
	}
	fmt.Println("listening") // from here on nothing is missed
	buf := make([]byte, 65536)
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
