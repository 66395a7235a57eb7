// SPDX-License-Identifier: Apache-2.0

package export

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/recording"
	"github.com/netns-trace/netns-trace/pkg/report"
)

// pcapng writes the packets whose checksum was wrong, each with the verdict as its
// comment (draft-ietf-opsawg-pcapng).
type pcapng struct {
	sink
	known      *finding.Knowledge
	interfaces map[pcapInterface]uint32
}

// pcapInterface is a device in a namespace, as an interface of the file.
type pcapInterface struct {
	name  string
	netns record.NetnsID
}

// Numbers of the format.
const (
	sectionHeader  = 0x0a0d0d0a
	interfaceBlock = 1
	packetBlock    = 6
	byteOrderMagic = 0x1a2b3c4d
	linkEthernet   = 1

	optionEnd         = 0
	optionComment     = 1
	optionHardware    = 2
	optionOS          = 3
	optionApplication = 4
	optionName        = 2
	optionDescription = 3
	optionResolution  = 9
	nanoseconds       = 9
)

func newPcapng(w io.Writer, start *recording.Start, known *finding.Knowledge) *pcapng {
	p := &pcapng{sink: sink{w: w}, known: known, interfaces: make(map[pcapInterface]uint32)}
	body := binary.LittleEndian.AppendUint32(nil, byteOrderMagic)
	body = binary.LittleEndian.AppendUint16(body, 1) // version 1.0
	body = binary.LittleEndian.AppendUint16(body, 0)
	body = binary.LittleEndian.AppendUint64(body, 1<<64-1) // length of the section: not told
	body = option(body, optionHardware, start.Host.Machine)
	body = option(body, optionOS, strings.TrimSpace(start.Host.System+" "+start.Host.Release))
	body = option(body, optionApplication, "netns-trace "+start.Tool)
	p.block(sectionHeader, option(body, optionEnd, ""))
	return p
}

// block writes a block: its type, length, body, and length again.
func (p *pcapng) block(kind uint32, body []byte) {
	length := uint32(len(body) + 12)
	b := binary.LittleEndian.AppendUint32(nil, kind)
	b = binary.LittleEndian.AppendUint32(b, length)
	b = append(b, body...)
	p.write(binary.LittleEndian.AppendUint32(b, length))
}

// option appends one, padded to 32 bits.
func option(b []byte, code uint16, value string) []byte {
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	return padded(append(b, value...), len(value))
}

func padded(b []byte, length int) []byte { return append(b, make([]byte, (4-length%4)%4)...) }

// device is the number of a device's interface block, which is written when first
// asked for.
func (p *pcapng) device(d *record.CsumDevice) uint32 {
	key := pcapInterface{d.Name, d.Netns}
	if n, ok := p.interfaces[key]; ok {
		return n
	}
	body := binary.LittleEndian.AppendUint16(nil, linkEthernet)
	body = binary.LittleEndian.AppendUint16(body, 0)
	body = binary.LittleEndian.AppendUint32(body, 0) // snapshot length: not limited
	body = option(body, optionName, d.Name)
	body = option(body, optionDescription, fmt.Sprintf("%s of netns %s", d.Name, p.known.Netns(d.Netns)))
	body = option(body, optionResolution, string([]byte{nanoseconds}))
	p.block(interfaceBlock, option(body, optionEnd, ""))
	n := uint32(len(p.interfaces))
	p.interfaces[key] = n
	return n
}

// Record implements Writer.
func (p *pcapng) Record(rec record.Record) {
	r, ok := rec.(*record.CsumCorrupt)
	if !ok {
		return
	}
	number := p.device(&r.CsumDevice)
	at := uint64(p.known.At(r.When()).UnixNano())
	body := binary.LittleEndian.AppendUint32(nil, number)
	body = binary.LittleEndian.AppendUint32(body, uint32(at>>32))
	body = binary.LittleEndian.AppendUint32(body, uint32(at))
	body = binary.LittleEndian.AppendUint32(body, uint32(len(r.Packet)))
	body = binary.LittleEndian.AppendUint32(body, max(r.Bytes, uint32(len(r.Packet))))
	body = padded(append(body, r.Packet...), len(r.Packet))
	body = option(body, optionComment, p.verdict(r))
	p.block(packetBlock, option(body, optionEnd, ""))
}

// verdict is what is said of a packet.
func (p *pcapng) verdict(r *record.CsumCorrupt) string {
	by := "veth_xmit"
	if r.By == record.CsumByTC {
		by = "bpf_csum_level"
	}
	return fmt.Sprintf("netns-trace: corrupt, and marked as verified by %s on %s of netns %s: checksum %04x found, %04x expected; %d such packets so far",
		by, r.Name, p.known.Netns(r.Netns), r.Found, r.Expected, r.Corrupt)
}

// Finding implements Writer: the comments say it.
func (p *pcapng) Finding(*finding.Finding) {}

// Finish implements Writer.
func (p *pcapng) Finish(report.Recorded) error { return p.err }
