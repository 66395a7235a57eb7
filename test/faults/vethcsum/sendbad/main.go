// SPDX-License-Identifier: Apache-2.0

// Command sendbad sends packets with a wrong checksum from a device, or counts what
// a UDP socket gets of them.
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
	"slices"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "sendbad:", err)
		os.Exit(1)
	}
}

func run() error {
	p := packet{srcPort: sourcePort}
	dev := flag.String("dev", "", "device to send from, in the namespace that this runs in")
	count := flag.Int("count", 1, "packets to send, or to wait for")
	good := flag.Bool("good", false, "send the right checksum")
	flag.BoolVar(&p.none, "no-checksum", false, "send a checksum of 0: UDP without one")
	flag.StringVar(&p.protocol, "proto", "udp", "udp, tcp or icmp (over IPv6: ICMPv6), or other: none that has a known checksum")
	dstMAC := flag.String("dst-mac", "", "Ethernet address of the receiver")
	dstIP := flag.String("dst-ip", "", "IPv4 or IPv6 address of the receiver")
	srcIP := flag.String("src-ip", "", "address of the sender (default: the first one of the device, of that kind)")
	port := flag.Uint("port", 9, "port of the receiver")
	flag.IntVar(&p.size, "size", 0, "bytes of a frame (default: as many as it needs)")
	flag.IntVar(&p.padding, "pad", 0, "bytes to add behind the IP packet, as Ethernet does up to 60")
	flag.IntVar(&p.tags, "tags", 0, "VLAN tags to put into the frame: 1 is 802.1Q, of 2 the first is 802.1ad")
	flag.BoolVar(&p.options, "options", false, "put options into the IPv4 header, or a hop-by-hop header behind that of IPv6")
	flag.BoolVar(&p.fragment, "fragment", false, "send first fragments of larger IP packets")
	via := flag.String("via", "", "put a source route to this address into the IPv4 header, or it as a home address behind that of IPv6: the checksum then covers it")
	shape := shape{}
	flag.IntVar(&shape.linear, "linear", 0, "have the kernel keep only so many bytes in one piece, the rest in pages (frames of 4096 and more)")
	flag.IntVar(&shape.segment, "gso", 0, "send packets to be cut into segments of so many bytes")
	cut := flag.Int("cut", 0, "do not send raw: give an ordinary UDP socket ten times so many bytes, to be cut into ten right packets (UDP GSO)")
	listen := flag.Uint("listen", 0, "do not send: count packets that come to this UDP port")
	wait := flag.Duration("wait", 10*time.Second, "how long -listen waits for all of them")
	flag.Parse()
	p.wrong, p.dstPort = !*good, uint16(*port)
	switch {
	case flag.NArg() != 0:
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case *count < 1:
		return fmt.Errorf("a count of %d: wants 1 or more", *count)
	case *listen > 65535 || *port < 1 || *port > 65535:
		return errors.New("a port is a number from 1 to 65535")
	case *listen != 0:
		return receive(uint16(*listen), *count, *wait)
	case *cut < 0 || *cut > 6000:
		return errors.New("-cut is from 1 to 6000")
	case *cut > 0:
		return sendCut(fmt.Sprintf("[%s]:%d", *dstIP, *port), *cut, *count)
	case *dev == "":
		return errors.New("wants -dev to send or -listen to receive")
	case !slices.Contains([]string{"udp", "tcp", "icmp", "other"}, p.protocol):
		return fmt.Errorf("-proto: no protocol %q", p.protocol)
	case p.tags < 0 || p.tags > 2 || p.padding < 0 || shape.linear < 0 || shape.segment < 0:
		return errors.New("sizes are not negative, and there are at most two tags")
	}

	device, err := net.InterfaceByName(*dev)
	if err != nil {
		return fmt.Errorf("finding device %s: %w", *dev, err)
	}
	if len(device.HardwareAddr) != macLength {
		return fmt.Errorf("device %s has no Ethernet address", *dev)
	}
	p.srcMAC = device.HardwareAddr
	if p.dstMAC, err = net.ParseMAC(*dstMAC); err != nil {
		return fmt.Errorf("reading -dst-mac: %w", err)
	}
	if len(p.dstMAC) != macLength {
		return fmt.Errorf("reading -dst-mac: %s is no Ethernet address", *dstMAC)
	}
	if p.dstIP, err = netip.ParseAddr(*dstIP); err != nil {
		return fmt.Errorf("reading -dst-ip: %w", err)
	}
	if *srcIP == "" {
		p.srcIP, err = firstAddress(device, p.dstIP.Is4())
	} else {
		p.srcIP, err = netip.ParseAddr(*srcIP)
	}
	if err == nil && *via != "" {
		p.via, err = netip.ParseAddr(*via)
	}
	if err == nil && p.via.IsValid() && p.via.Is4() != p.dstIP.Is4() {
		err = fmt.Errorf("%s and %s are not of one kind", p.via, p.dstIP)
	}
	if err == nil && p.srcIP.Is4() != p.dstIP.Is4() {
		err = fmt.Errorf("%s and %s are not of one kind", p.srcIP, p.dstIP)
	}
	if err != nil {
		return fmt.Errorf("choosing the addresses, which -src-ip and -via set: %w", err)
	}
	if least := len(p.frame(1)); p.size != 0 && least > p.size {
		return fmt.Errorf("-size %d: these frames have at least %d bytes", p.size, least)
	}
	if err := send(device.Index, p, shape, *count); err != nil {
		return fmt.Errorf("sending from %s: %w", *dev, err)
	}
	fmt.Printf("sent %d\n", *count)
	return nil
}

func firstAddress(device *net.Interface, is4 bool) (netip.Addr, error) {
	addrs, err := device.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("listing addresses of %s: %w", device.Name, err)
	}
	for _, addr := range addrs {
		prefix, err := netip.ParsePrefix(addr.String())
		if err == nil && prefix.Addr().Is4() == is4 {
			return prefix.Addr(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%s has no address of that kind", device.Name)
}
