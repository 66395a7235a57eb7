// SPDX-License-Identifier: Apache-2.0

// Command sendbad sends UDP packets with a wrong checksum from a device, or counts
// what a UDP socket gets of them.
//
//	sendbad -dev veth0 -dst-mac 02:00:00:00:00:02 -dst-ip 10.9.0.2 -port 9 -count 5
//	sendbad -listen 9 -count 5 -wait 10s
//
// They are raw frames of a packet socket, which the kernel gives to the device as
// CHECKSUM_NONE: nobody has looked at the checksum, nobody fills it in. A receiver
// that checks drops every one. With -good the checksum is right.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "sendbad:", err)
		os.Exit(1)
	}
}

func run() error {
	dev := flag.String("dev", "", "device to send from, in the namespace that this runs in")
	count := flag.Int("count", 1, "packets to send, or to wait for")
	good := flag.Bool("good", false, "send the right checksum")
	dstMAC := flag.String("dst-mac", "", "Ethernet address of the receiver")
	dstIP := flag.String("dst-ip", "", "IPv4 address of the receiver")
	srcIP := flag.String("src-ip", "", "IPv4 address of the sender (default: the first one of the device)")
	port := flag.Uint("port", 9, "UDP port of the receiver")
	listen := flag.Uint("listen", 0, "do not send: count packets that come to this UDP port")
	wait := flag.Duration("wait", 10*time.Second, "how long -listen waits for all of them")
	flag.Parse()
	switch {
	case flag.NArg() != 0:
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case *count < 1:
		return fmt.Errorf("a count of %d: wants 1 or more", *count)
	case *listen > 65535 || *port < 1 || *port > 65535:
		return errors.New("a port is a number from 1 to 65535")
	case *listen != 0:
		return receive(uint16(*listen), *count, *wait)
	case *dev == "":
		return errors.New("wants -dev to send or -listen to receive")
	}

	device, err := net.InterfaceByName(*dev)
	if err != nil {
		return fmt.Errorf("finding device %s: %w", *dev, err)
	}
	if len(device.HardwareAddr) != macLength {
		return fmt.Errorf("device %s has no Ethernet address", *dev)
	}
	p := packet{srcMAC: device.HardwareAddr, srcPort: sourcePort, dstPort: uint16(*port), wrong: !*good}
	if p.dstMAC, err = net.ParseMAC(*dstMAC); err != nil {
		return fmt.Errorf("reading -dst-mac: %w", err)
	}
	if len(p.dstMAC) != macLength {
		return fmt.Errorf("reading -dst-mac: %s is no Ethernet address", *dstMAC)
	}
	if p.dstIP, err = parseIPv4(*dstIP); err != nil {
		return fmt.Errorf("reading -dst-ip: %w", err)
	}
	if *srcIP == "" {
		p.srcIP, err = firstIPv4(device)
	} else {
		p.srcIP, err = parseIPv4(*srcIP)
	}
	if err != nil {
		return fmt.Errorf("choosing the sender's address, which -src-ip sets: %w", err)
	}
	if err := send(device.Index, p, *count); err != nil {
		return fmt.Errorf("sending from %s: %w", *dev, err)
	}
	fmt.Printf("sent %d\n", *count)
	return nil
}

func parseIPv4(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, err
	}
	if !addr.Is4() {
		return netip.Addr{}, fmt.Errorf("%s is no IPv4 address", text)
	}
	return addr, nil
}

func firstIPv4(device *net.Interface) (netip.Addr, error) {
	addrs, err := device.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("listing addresses of %s: %w", device.Name, err)
	}
	for _, addr := range addrs {
		prefix, err := netip.ParsePrefix(addr.String())
		if err == nil && prefix.Addr().Is4() {
			return prefix.Addr(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%s has no IPv4 address", device.Name)
}
