// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
)

const (
	macLength  = 6
	sourcePort = 40000
)

// Numbers of protocols in an IP header; 253 is for experiments (RFC 3692).
var numbers = map[string]byte{"icmp": 1, "tcp": 6, "udp": 17, "other": 253}

const (
	icmpv6Number   = 58
	hopByHop       = 0
	destination    = 60
	fragmentNumber = 44
)

// packet is what the frames of one run have in common.
type packet struct {
	srcMAC, dstMAC   net.HardwareAddr
	srcIP, dstIP     netip.Addr // both IPv4 or both IPv6
	srcPort, dstPort uint16
	protocol         string // a key of numbers
	wrong            bool   // send a wrong checksum
	none             bool   // send a checksum of 0

	size     int // bytes of a frame; 0: what it needs
	padding  int // bytes behind the IP packet
	tags     int
	options  bool
	fragment bool
	via      netip.Addr // the checksum covers this one, which an option names
}

// frame returns the Ethernet frame of packet number n, which its payload names.
func (p packet) frame(n int) []byte {
	payload := fmt.Appendf(nil, "sendbad %d\n", n)
	out := p.around(p.transport(payload), n)
	if missing := p.size - len(out); missing > 0 {
		for i := range missing {
			payload = append(payload, byte('a'+i%26))
		}
		out = p.around(p.transport(payload), n)
	}
	return out
}

// around puts the headers before a segment, and the padding behind it.
func (p packet) around(segment []byte, n int) []byte {
	out := make([]byte, 0, 64+len(segment)+p.padding)
	out = append(append(out, p.dstMAC...), p.srcMAC...)
	if p.tags == 2 {
		out = append(out, 0x88, 0xa8, 0, 8)
	}
	if p.tags > 0 {
		out = append(out, 0x81, 0x00, 0, 7)
	}
	if p.dstIP.Is4() {
		out = append(append(out, 0x08, 0x00), p.ipv4Header(len(segment), uint16(n))...)
	} else {
		out = append(append(out, 0x86, 0xdd), p.ipv6Headers(len(segment), uint32(n))...)
	}
	out = append(out, segment...)
	for range p.padding {
		out = append(out, 0x5a) // of which a sum would be wrong
	}
	return out
}

func (p packet) number() byte {
	if p.protocol == "icmp" && !p.dstIP.Is4() {
		return icmpv6Number
	}
	return numbers[p.protocol]
}

// ipv4Header has a right checksum in any case: a wrong one would have the packet
// dropped before UDP.
func (p packet) ipv4Header(length int, id uint16) []byte {
	h := make([]byte, 20)
	if p.options {
		h = append(h, 1, 1, 1, 0) // nothing, nothing, nothing, end
	}
	if p.via.IsValid() {
		final := p.via.As4()
		h = append(append(h, 1, 131, 7, 4), final[:]...) // nothing, then a loose source route
	}
	h[0] = 4<<4 | byte(len(h)/4)
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+length))
	binary.BigEndian.PutUint16(h[4:], id)
	if p.fragment {
		h[6] = 0x20 // more fragments
	}
	h[8] = 64
	h[9] = p.number()
	src, dst := p.srcIP.As4(), p.dstIP.As4()
	copy(h[12:], src[:])
	copy(h[16:], dst[:])
	binary.BigEndian.PutUint16(h[10:], ^onesSum(h))
	return h
}

// ipv6Headers are the header and those that it says follow.
func (p packet) ipv6Headers(length int, id uint32) []byte {
	next := p.number()
	var more []byte
	if p.fragment {
		more = binary.BigEndian.AppendUint32([]byte{next, 0, 0, 1}, id)
		next = fragmentNumber
	}
	if p.via.IsValid() {
		home := p.via.As16()
		more = append(append([]byte{next, 2, 1, 2, 0, 0, 201, 16}, home[:]...), more...) // PadN, the home address
		next = destination
	}
	if p.options {
		more = append([]byte{next, 0, 1, 4, 0, 0, 0, 0}, more...) // PadN
		next = hopByHop
	}
	h := make([]byte, 40, 40+len(more))
	h[0] = 6 << 4
	binary.BigEndian.PutUint16(h[4:], uint16(len(more)+length))
	h[6], h[7] = next, 64
	src, dst := p.srcIP.As16(), p.dstIP.As16()
	copy(h[8:], src[:])
	copy(h[24:], dst[:])
	return append(h, more...)
}

// transport is the segment: what the checksum is of.
func (p packet) transport(payload []byte) []byte {
	var d []byte
	at := 0 // of the checksum
	switch p.protocol {
	case "tcp":
		d, at = make([]byte, 20), 16
		d[12], d[13] = 5<<4, 0x10 // no options; ACK
	case "icmp":
		d, at = make([]byte, 8), 2
		if d[0] = 8; !p.dstIP.Is4() {
			d[0] = 128 // echo request
		}
	default:
		d, at = make([]byte, 8), 6
		binary.BigEndian.PutUint16(d[4:], uint16(len(d)+len(payload)))
	}
	if p.protocol == "tcp" || p.protocol == "udp" {
		binary.BigEndian.PutUint16(d, p.srcPort)
		binary.BigEndian.PutUint16(d[2:], p.dstPort)
	}
	d = append(d, payload...)
	if p.none {
		return d
	}
	sum := p.checksum(d)
	if p.wrong {
		sum = spoil(sum)
	}
	binary.BigEndian.PutUint16(d[at:], sum)
	return d
}

// checksum is that of a segment whose checksum field is 0.
func (p packet) checksum(segment []byte) uint16 {
	var pseudo []byte
	if number := p.number(); number != numbers["icmp"] { // it alone does not cover the addresses
		src, dst := p.srcIP, p.dstIP
		switch {
		case p.via.Is4():
			dst = p.via // where the route ends
		case p.via.Is6():
			src = p.via // who sent it, wherever it is now
		}
		pseudo = append(src.AsSlice(), dst.AsSlice()...)
		pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(segment)))
		pseudo = append(pseudo, 0, number)
	}
	sum := ^onesSum(append(pseudo, segment...))
	if sum == 0 && p.protocol == "udp" {
		return 0xffff // 0 says that there is no checksum
	}
	return sum
}

// spoil returns a checksum that is wrong: not 0, which nobody would verify.
func spoil(sum uint16) uint16 {
	const bit = 0x0100
	if sum == bit {
		return sum ^ bit<<1
	}
	return sum ^ bit
}

// onesSum adds up 16-bit words in ones' complement; an odd byte at the end is the
// high half of a word.
func onesSum(data []byte) uint16 {
	var sum uint64
	for ; len(data) > 1; data = data[2:] {
		sum += uint64(data[0])<<8 | uint64(data[1])
	}
	if len(data) == 1 {
		sum += uint64(data[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
