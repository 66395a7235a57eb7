// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func testPacket(wrong bool) packet {
	return packet{
		srcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, dstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2},
		srcIP: netip.MustParseAddr("10.9.0.1"), dstIP: netip.MustParseAddr("10.9.0.2"),
		srcPort: 40000, dstPort: 9, protocol: "udp", wrong: wrong,
	}
}

func TestFrame(t *testing.T) {
	// The checksums, 66b2 of IPv4 and 7616 of UDP, were added up by hand.
	want := strings.Join([]string{
		"020000000002" + "020000000001" + "0800",
		"4500" + "0026" + "0001" + "0000" + "4011" + "66b2" + "0a090001" + "0a090002",
		"9c40" + "0009" + "0012" + "7616",
		hex.EncodeToString([]byte("sendbad 1\n")),
	}, "")
	got := testPacket(false).frame(1)
	if hex.EncodeToString(got) != want {
		t.Errorf("frame:\n%x, want\n%s", got, want)
	}
}

// verifies does what a receiver does: with the checksum in it, the sum is all ones.
func verifies(segment, pseudo []byte) bool {
	return onesSum(append(pseudo, segment...)) == 0xffff
}

func TestOnlyTheUDPChecksumIsWrong(t *testing.T) {
	// Payloads of odd and even length, and enough of them for most checksums.
	for n := range 20000 {
		good, bad := testPacket(false).frame(n), testPacket(true).frame(n)
		pseudo := func(frame []byte) []byte {
			return append(append([]byte{}, frame[26:34]...), 0, 17, 0, byte(len(frame)-34))
		}
		if !verifies(good[34:], pseudo(good)) {
			t.Fatalf("packet %d of -good does not verify: %x", n, good)
		}
		if verifies(bad[34:], pseudo(bad)) {
			t.Fatalf("packet %d verifies: %x", n, bad)
		}
		if onesSum(bad[14:34]) != 0xffff {
			t.Fatalf("packet %d has a wrong IPv4 checksum: %x", n, bad)
		}
	}
}

// Where the segment lies in each kind of frame, and how long the frame is.
func TestFramesOfEveryKind(t *testing.T) {
	ipv6 := func(p packet) packet {
		p.srcIP, p.dstIP = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")
		return p
	}
	tests := []struct {
		name   string
		packet packet
		at     int // of the segment
		number byte
		size   int
	}{
		{"UDP", packet{protocol: "udp"}, 34, 17, 52},
		{"TCP", packet{protocol: "tcp"}, 34, 6, 64},
		{"ICMP", packet{protocol: "icmp"}, 34, 1, 52},
		{"UDP with IPv4 options", packet{protocol: "udp", options: true}, 38, 17, 56},
		{"UDP with two tags", packet{protocol: "udp", tags: 2}, 42, 17, 60},
		{"UDP of 1500 bytes", packet{protocol: "udp", size: 1500}, 34, 17, 1500},
		{"UDP of 65000 bytes", packet{protocol: "udp", size: 65000}, 34, 17, 65000},
		{"UDP over IPv6", ipv6(packet{protocol: "udp"}), 54, 17, 72},
		{"TCP over IPv6 with hop-by-hop options", ipv6(packet{protocol: "tcp", options: true}), 62, 6, 92},
		{"ICMPv6", ipv6(packet{protocol: "icmp", size: 101}), 54, 58, 101},
		{"UDP by a source route", packet{protocol: "udp", via: netip.MustParseAddr("10.9.0.7")}, 42, 17, 60},
		{"UDP from a home address", ipv6(packet{protocol: "udp", via: netip.MustParseAddr("fd00::7")}), 78, 17, 96},
	}
	for _, test := range tests {
		p := test.packet
		p.srcMAC, p.dstMAC, p.srcPort, p.dstPort = testPacket(false).srcMAC, testPacket(false).dstMAC, 40000, 9
		if !p.srcIP.IsValid() {
			p.srcIP, p.dstIP = testPacket(false).srcIP, testPacket(false).dstIP
		}
		for _, p.wrong = range []bool{false, true} {
			frame := p.frame(1)
			if len(frame) != test.size {
				t.Errorf("%s: %d bytes, want %d", test.name, len(frame), test.size)
			}
			segment := frame[test.at:]
			src, dst := p.srcIP, p.dstIP
			if p.via.Is4() {
				dst = p.via
			} else if p.via.Is6() {
				src = p.via
			}
			pseudo := append(append(src.AsSlice(), dst.AsSlice()...), 0, test.number, byte(len(segment)>>8), byte(len(segment)))
			if test.number == 1 {
				pseudo = nil
			}
			if verifies(segment, pseudo) == p.wrong {
				t.Errorf("%s: wrong: %v, but it verifies: %v", test.name, p.wrong, !p.wrong)
			}
		}
	}
}

func TestSpoiledChecksumIsNeverNone(t *testing.T) {
	for sum := 1; sum <= 0xffff; sum++ {
		got := spoil(uint16(sum))
		// 0 and ffff are the same number in ones' complement.
		if got == 0 || int(got)%0xffff == sum%0xffff {
			t.Errorf("%#x was spoiled to %#x", sum, got)
		}
	}
}
