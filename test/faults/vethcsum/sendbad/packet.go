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
	ipLength   = 20
	udpLength  = 8
	sourcePort = 40000
	udpNumber  = 17 // of the protocol, in an IPv4 header
)

// packet is what the frames of one run have in common.
type packet struct {
	srcMAC, dstMAC   net.HardwareAddr
	srcIP, dstIP     netip.Addr
	srcPort, dstPort uint16
	wrong            bool // send a wrong checksum
}

// frame returns the Ethernet frame of packet number n, which its payload names.
func (p packet) frame(n int) []byte {
	payload := fmt.Sprintf("sendbad %d\n", n)
	udp := p.datagram(payload)
	out := make([]byte, 0, 2*macLength+2+ipLength+len(udp))
	out = append(out, p.dstMAC...)
	out = append(out, p.srcMAC...)
	out = append(out, 0x08, 0x00) // IPv4
	out = append(out, p.ipHeader(len(udp), uint16(n))...)
	return append(out, udp...)
}

// ipHeader has a right checksum in any case: a wrong one would have the packet
// dropped before UDP.
func (p packet) ipHeader(length int, id uint16) []byte {
	h := make([]byte, ipLength)
	h[0] = 4<<4 | ipLength/4
	binary.BigEndian.PutUint16(h[2:], uint16(ipLength+length))
	binary.BigEndian.PutUint16(h[4:], id)
	h[8] = 64
	h[9] = udpNumber
	src, dst := p.srcIP.As4(), p.dstIP.As4()
	copy(h[12:], src[:])
	copy(h[16:], dst[:])
	binary.BigEndian.PutUint16(h[10:], ^onesSum(h))
	return h
}

func (p packet) datagram(payload string) []byte {
	d := make([]byte, udpLength, udpLength+len(payload))
	binary.BigEndian.PutUint16(d, p.srcPort)
	binary.BigEndian.PutUint16(d[2:], p.dstPort)
	binary.BigEndian.PutUint16(d[4:], uint16(udpLength+len(payload)))
	d = append(d, payload...)
	src, dst := p.srcIP.As4(), p.dstIP.As4()
	sum := udpChecksum(src, dst, d)
	if p.wrong {
		sum = spoil(sum)
	}
	binary.BigEndian.PutUint16(d[6:], sum)
	return d
}

// udpChecksum is the checksum of a datagram whose checksum field is 0.
func udpChecksum(src, dst [4]byte, datagram []byte) uint16 {
	pseudo := append(src[:], dst[:]...)
	pseudo = append(pseudo, 0, udpNumber)
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(datagram)))
	sum := ^onesSum(append(pseudo, datagram...))
	if sum == 0 {
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
	var sum uint32
	for i, b := range data {
		sum += uint32(b) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
