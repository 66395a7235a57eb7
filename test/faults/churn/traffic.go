// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// talk sends messages from the host to echo servers whose sockets live in the
// namespace, over IPv4 and IPv6.
func (p pair) talk() error {
	for _, ip := range []string{p.innerIP(), p.innerIP6()} {
		if err := p.talkTo(ip); err != nil {
			return fmt.Errorf("traffic with %s: %w", ip, err)
		}
	}
	return nil
}

func (p pair) talkTo(ip string) (err error) {
	var tcp net.Listener
	var udp net.PacketConn
	// Sockets belong to the namespace that they were made in; who uses them later
	// may be anywhere. So the window is short.
	err = p.inside(func() error {
		var err error
		if tcp, err = net.Listen("tcp", net.JoinHostPort(ip, "7")); err != nil {
			return err
		}
		if udp, err = net.ListenPacket("udp", net.JoinHostPort(ip, "7")); err != nil {
			return errors.Join(err, tcp.Close())
		}
		return nil
	})
	if err != nil {
		return err
	}
	var servers sync.WaitGroup
	servers.Go(func() { echoTCP(tcp) })
	servers.Go(func() { echoUDP(udp) })
	defer func() {
		tcp.Close()
		udp.Close()
		servers.Wait()
	}()

	for _, network := range []string{"tcp", "udp"} {
		if err := p.exchange(network, net.JoinHostPort(ip, "7")); err != nil {
			return fmt.Errorf("%s: %w", network, err)
		}
	}
	return nil
}

// exchange sends messages of many sizes and reads each echo. A UDP message that is
// lost, or answered too late, is sent again: on a busy emulated machine that is no
// fault.
func (p pair) exchange(network, addr string) error {
	const udpTries = 5
	conn, err := net.DialTimeout(network, addr, 20*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	echo := make([]byte, 1400)
	for n := range p.packets {
		message := make([]byte, 1+(n*97)%1400)
		for try := 1; ; try++ {
			err := exchangeOne(conn, message, echo)
			if err == nil {
				break
			}
			if network == "tcp" || try == udpTries {
				return fmt.Errorf("message %d: %w", n, err)
			}
		}
		p.done.messages.Add(1)
	}
	return nil
}

func exchangeOne(conn net.Conn, message, echo []byte) error {
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write(message); err != nil {
		return err
	}
	if _, stream := conn.(*net.TCPConn); stream {
		_, err := io.ReadFull(conn, echo[:len(message)])
		return err
	}
	n, err := conn.Read(echo)
	if err == nil && n != len(message) {
		return fmt.Errorf("echo of %d bytes to a message of %d", n, len(message))
	}
	return err
}

// echoTCP serves one connection at a time until the listener is closed.
func echoTCP(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(conn, conn) // ends with the client
		conn.Close()
	}
}

// echoUDP answers until the socket is closed.
func echoUDP(c net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(buf[:n], from) // a lost answer is asked for again
	}
}
