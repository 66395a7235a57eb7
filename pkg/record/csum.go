// SPDX-License-Identifier: Apache-2.0

package record

import "net/netip"

// ChecksumState is what the kernel holds of a packet's checksum: skb->ip_summed.
type ChecksumState uint32

// The states, by the kernel's numbers.
const (
	ChecksumNone        ChecksumState = iota // nobody has looked at it
	ChecksumUnnecessary                      // it is right, says somebody
	ChecksumComplete                         // the device gave the sum
	ChecksumPartial                          // it is yet to be filled in
)

func (s ChecksumState) String() string {
	names := [...]string{"CHECKSUM_NONE", "CHECKSUM_UNNECESSARY", "CHECKSUM_COMPLETE", "CHECKSUM_PARTIAL"}
	return names[s%4]
}

// CsumBy is who changed the state of a packet: enum csum_by in headers/record.h.
type CsumBy uint32

// They are two.
const (
	CsumByVeth CsumBy = 1 // veth_xmit()
	CsumByTC   CsumBy = 2 // a BPF program, by the helper bpf_csum_level()
)

// CsumDirection is where a packet was going at its device.
type CsumDirection uint32

// The directions; 0 is not known.
const (
	CsumIngress CsumDirection = 1
	CsumEgress  CsumDirection = 2
)

// CsumDevice is a device on which packets were rewritten: CHECKSUM_NONE became
// CHECKSUM_UNNECESSARY.
type CsumDevice struct {
	Netns, PeerNetns     NetnsID
	Packets              uint64 // rewritten on this device since tracing started
	Ifindex, PeerIfindex int32  // PeerIfindex is 0 when there is no peer
	Name, PeerName       string
	By                   CsumBy
	Direction            CsumDirection // of bpf_csum_level() not known where tc did not call it
	Birth                uint32        // tells apart namespaces that had the same Netns
}

// CsumVerdicts counts what adding up the checksums of the rewritten packets led to.
// They add up to CsumDevice.Packets.
type CsumVerdicts struct {
	Good, Corrupt uint64
	NoChecksum    uint64 // UDP with a checksum of 0
	GSO           uint64 // packets that are yet to be cut
	Fragment      uint64 // of an IP packet
	Protocol      uint64 // none that is known
	Nonlinear     uint64 // in memory that could not be found
	Truncated     uint64 // shorter than their headers say, or not readable
	Unchecked     uint64 // over the limit, or not one of those to be checked
}

// CsumCounts are the exact counts of one device.
type CsumCounts struct {
	Transitions [4][4]uint64 // by ChecksumState before and after
	Verdicts    CsumVerdicts
}

// CsumRewrite is a device that rewrites. One is made at its first such packet and
// then at most every second; the counts are of all of them.
type CsumRewrite struct {
	Time
	CsumDevice
	CsumCounts
	Final bool // read from the kernel's own count when tracing ends
}

// CsumCorrupt is a rewritten packet whose checksum was wrong. At most a few are
// made in a second for each device; Corrupt counts all.
type CsumCorrupt struct {
	Time
	CsumDevice
	Corrupt             uint64         // such packets on the device since tracing started
	Protocol            uint32         // the IP protocol's number
	Tags                uint32         // VLAN tags in the packet
	Source, Destination netip.AddrPort // ports are 0 for ICMP and ICMPv6
	Found, Expected     uint16         // checksums
	Bytes               uint32         // of the packet, from the Ethernet header on
	Packet              []byte         // the first of them, at most 128
}

// Sizes on the wire, and the bytes of a packet that come with a CsumCorrupt.
const (
	csumDeviceSize  = 2*netnsSize + 16 + 2*nameSize + 16
	csumCountsSize  = (16 + 9) * 8
	csumPacketSize  = 128
	csumCorruptSize = csumDeviceSize + 8 + 5*4 + 4*2 + 4 + 32 + csumPacketSize
)

func (c *cursor) csumDevice() CsumDevice {
	d := CsumDevice{
		Netns: c.netns(), PeerNetns: c.netns(), Packets: c.u64(),
		Ifindex: int32(c.u32()), PeerIfindex: int32(c.u32()),
		Name: c.text(nameSize), PeerName: c.text(nameSize),
		By: CsumBy(c.u32()), Direction: CsumDirection(c.u32()), Birth: c.u32(),
	}
	c.skip(4)
	return d
}

func (c *cursor) csumCounts() CsumCounts {
	var n CsumCounts
	for from := range n.Transitions {
		for to := range n.Transitions[from] {
			n.Transitions[from][to] = c.u64()
		}
	}
	n.Verdicts = CsumVerdicts{
		Good: c.u64(), Corrupt: c.u64(), NoChecksum: c.u64(), GSO: c.u64(), Fragment: c.u64(),
		Protocol: c.u64(), Nonlinear: c.u64(), Truncated: c.u64(), Unchecked: c.u64(),
	}
	return n
}

func (c *cursor) csumCorrupt(t Time, r *CsumCorrupt) {
	r.Time, r.CsumDevice, r.Corrupt = t, c.csumDevice(), c.u64()
	r.Bytes = c.u32()
	captured, family := c.u32(), c.u32()
	r.Protocol, r.Tags = c.u32(), c.u32()
	r.Found, r.Expected = c.u16(), c.u16()
	source, destination := c.u16(), c.u16()
	c.skip(4)
	r.Source = address(family, c.bytes(16), source)
	r.Destination = address(family, c.bytes(16), destination)
	packet := c.bytes(csumPacketSize)
	r.Packet = append(r.Packet[:0], packet[:min(int(captured), len(packet))]...)
}

func address(family uint32, b []byte, port uint16) netip.AddrPort {
	const inet = 2 // AF_INET
	if family == inet {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b)), port)
}

// DecodeCsumCounts decodes struct csum_device and struct csum_counts, which is how
// the kernel's map of rewrites begins too. It needs CsumMapBytes bytes.
func DecodeCsumCounts(b []byte) CsumRewrite {
	c := cursor{b: b, comms: new(commCache)}
	r := CsumRewrite{CsumDevice: c.csumDevice(), CsumCounts: c.csumCounts()}
	r.Packets = r.Transitions[ChecksumNone][ChecksumUnnecessary]
	return r
}

// CsumMapBytes is how many bytes DecodeCsumCounts reads.
const CsumMapBytes = csumDeviceSize + csumCountsSize
