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
		srcPort: 40000, dstPort: 9, wrong: wrong,
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
func verifies(frame []byte) bool {
	ip, udp := frame[14:14+ipLength], frame[14+ipLength:]
	pseudo := append([]byte{}, ip[12:]...)
	pseudo = append(pseudo, 0, udpNumber, byte(len(udp)>>8), byte(len(udp)))
	return onesSum(append(pseudo, udp...)) == 0xffff
}

func TestOnlyTheUDPChecksumIsWrong(t *testing.T) {
	// Payloads of odd and even length, and enough of them for most checksums.
	for n := range 20000 {
		good, bad := testPacket(false).frame(n), testPacket(true).frame(n)
		if !verifies(good) {
			t.Fatalf("packet %d of -good does not verify: %x", n, good)
		}
		if verifies(bad) {
			t.Fatalf("packet %d verifies: %x", n, bad)
		}
		if onesSum(bad[14:14+ipLength]) != 0xffff {
			t.Fatalf("packet %d has a wrong IPv4 checksum: %x", n, bad)
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
