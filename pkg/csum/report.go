// SPDX-License-Identifier: Apache-2.0

package csum

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// endpoints is a flow.
type endpoints struct {
	protocol            uint32
	source, destination netip.AddrPort
}

// The forms of details in JSON; docs/findings.md has their meaning.
type (
	verified struct {
		Good         uint64       `json:"good"`
		Corrupt      uint64       `json:"corrupt"`
		NoChecksum   uint64       `json:"no_checksum"`
		Unverifiable unverifiable `json:"unverifiable"`
		Unchecked    uint64       `json:"unchecked"`
	}
	unverifiable struct {
		GSO       uint64 `json:"gso"`
		Fragment  uint64 `json:"fragment"`
		Protocol  uint64 `json:"protocol"`
		Nonlinear uint64 `json:"nonlinear"`
		Truncated uint64 `json:"truncated"`
	}
	limit struct {
		Every     uint32 `json:"every"`
		PerSecond uint32 `json:"per_second"`
	}
	flowDetail struct {
		Family          string     `json:"family"`
		Protocol        string     `json:"protocol"`
		Source          netip.Addr `json:"source"`
		SourcePort      uint16     `json:"source_port,omitempty"`
		Destination     netip.Addr `json:"destination"`
		DestinationPort uint16     `json:"destination_port,omitempty"`
		Packets         int        `json:"packets,omitempty"`
	}
)

// rewriteFinding words that a device rewrites.
func (d *Detector) rewriteFinding(dev *device, now uint64) *finding.Finding {
	r := &dev.last
	packets := dev.counts.Transitions[record.ChecksumNone][record.ChecksumUnnecessary]
	state := dev.rewrite.tell(KindRewrite, r, now, packets)
	f := d.finding(dev, state, KindRewrite, dev.rewrite.id, now, packets)
	v := verdicts(dev.counts.Verdicts)
	f.Details["from"], f.Details["to"] = record.ChecksumNone.String(), record.ChecksumUnnecessary.String()
	f.Details["verified"] = v
	if others := otherChanges(dev.counts); len(others) > 0 {
		f.Details["other_changes"] = others
	}
	f.Facts = append(f.Facts,
		finding.Fact{Label: "packets", Text: fmt.Sprint(packets, " so far, delivered without their checksum being verified")},
		finding.Fact{Label: "checked", Text: v.String()})
	f.Facts = append(f.Facts, d.unchecked(v.Unchecked)...)
	f.Summary = fmt.Sprintf("%s of netns %s turns CHECKSUM_NONE into CHECKSUM_UNNECESSARY %s: %s",
		r.Name, f.Netns, where(r), plural(packets))
	return f
}

// corruptFinding words that corrupt packets went through. count is the kernel's.
func (d *Detector) corruptFinding(dev *device, now, count uint64) *finding.Finding {
	r := &dev.last
	state := dev.corrupt.tell(KindCorrupt, r, now, count)
	f := d.finding(dev, state, KindCorrupt, dev.corrupt.id, now, count)
	f.Summary = fmt.Sprintf("%s with a wrong checksum marked as verified on %s of netns %s", plural(count), r.Name, f.Netns)
	missed := dev.counts.Verdicts.Unchecked
	f.Details["unchecked"] = missed
	v := dev.counts.Verdicts
	f.Details["unverifiable"] = verdicts(v).Unverifiable
	// What is counted as protocol has no checksum that is known here.
	if missed+v.GSO+v.Fragment+v.Nonlinear+v.Truncated > 0 {
		f.Summary = "at least " + f.Summary
	}
	if p := dev.corrupted; p != nil {
		at := endpoints{p.Protocol, p.Source, p.Destination}
		f.Summary += fmt.Sprintf(", the last %s", at)
		f.Details["flow"] = at.detail(0)
		f.Details["checksum"] = map[string]string{
			"found": fmt.Sprintf("%04x", p.Found), "expected": fmt.Sprintf("%04x", p.Expected),
		}
		f.Details["packet"] = hex.EncodeToString(p.Packet)
		f.Details["packet_bytes"] = p.Bytes
		f.Details["packet_cut"] = int(p.Bytes) > len(p.Packet)
		f.Facts = append(f.Facts,
			finding.Fact{Label: "flow", Text: at.String()},
			finding.Fact{Label: "checksum", Text: fmt.Sprintf("%04x found, %04x expected", p.Found, p.Expected)})
		f.Facts = append(f.Facts, dump(p)...)
	}
	var flows []flowDetail
	for _, fl := range dev.flows {
		flows = append(flows, fl.at.detail(fl.packets))
	}
	if len(flows) > 0 {
		f.Details["flows"], f.Details["flows_more"] = flows, dev.more
	}
	f.Facts = append(f.Facts, d.unchecked(missed)...)
	return f
}

// finding is what both kinds have in common.
func (d *Detector) finding(dev *device, state finding.State, kind, id string, now, count uint64) *finding.Finding {
	r := &dev.last
	f := &finding.Finding{
		ID: id, State: state, Class: finding.Csum, Kind: kind,
		Time:     d.known.At(now),
		Netns:    d.known.Netns(r.Netns),
		Device:   &finding.Device{Name: r.Name, Ifindex: r.Ifindex},
		Count:    int64(count),
		Evidence: d.known.Evidence(finding.Csum, how(r.By)),
		Details:  map[string]any{"by": by(r.By), "direction": direction(r.Direction), "limit": limit(d.config)},
	}
	if r.PeerIfindex != 0 {
		peer := d.known.Netns(r.PeerNetns)
		f.Details["peer"] = finding.Device{Name: r.PeerName, Ifindex: r.PeerIfindex}
		f.Details["peer_netns"] = peer
		f.Facts = append(f.Facts, finding.Fact{Label: "peer", Text: fmt.Sprintf("%s of netns %s", r.PeerName, peer)})
	}
	return f
}

func how(b record.CsumBy) string {
	if b == record.CsumByTC {
		return "skb->ip_summed before and after bpf_csum_level; checksums added up in the kernel"
	}
	return "skb->ip_summed at veth_xmit and __dev_forward_skb; checksums added up in the kernel"
}

func by(b record.CsumBy) string {
	if b == record.CsumByTC {
		return "bpf_csum_level"
	}
	return "veth_xmit"
}

func direction(d record.CsumDirection) string {
	switch d {
	case record.CsumIngress:
		return "ingress"
	case record.CsumEgress:
		return "egress"
	}
	return "unknown"
}

// where says it in the summary.
func where(r *record.CsumDevice) string {
	if r.By == record.CsumByVeth {
		return "on the way to its peer"
	}
	if r.Direction == 0 { // tc's, or a route's
		return "by a BPF program (bpf_csum_level)"
	}
	return "by a tc program on its " + direction(r.Direction)
}

// unchecked states the limit when it bites.
func (d *Detector) unchecked(n uint64) []finding.Fact {
	if n == 0 {
		return nil
	}
	text := fmt.Sprintf("%s: limit of %d a second reached", plural(n), d.config.PerSecond)
	if d.config.Every > 1 {
		text = fmt.Sprintf("%s: one in %d is checked, at most %d a second", plural(n), d.config.Every, d.config.PerSecond)
	}
	return []finding.Fact{{Label: "unchecked", Text: text}}
}

func verdicts(v record.CsumVerdicts) verified {
	return verified{
		Good: v.Good, Corrupt: v.Corrupt, NoChecksum: v.NoChecksum, Unchecked: v.Unchecked,
		Unverifiable: unverifiable{
			GSO: v.GSO, Fragment: v.Fragment, Protocol: v.Protocol, Nonlinear: v.Nonlinear, Truncated: v.Truncated,
		},
	}
}

// String is what was found, without what was not.
func (v verified) String() string {
	parts := []string{fmt.Sprintf("%d good, %d corrupt", v.Good, v.Corrupt)}
	for _, p := range []struct {
		n    uint64
		text string
	}{
		{v.NoChecksum, "without a checksum"},
		{v.Unverifiable.GSO, "not verifiable (GSO)"},
		{v.Unverifiable.Fragment, "not verifiable (IP fragment)"},
		{v.Unverifiable.Protocol, "not verifiable (protocol)"},
		{v.Unverifiable.Nonlinear, "not verifiable (memory not found)"},
		{v.Unverifiable.Truncated, "not verifiable (truncated)"},
	} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.text))
		}
	}
	return strings.Join(parts, ", ")
}

// otherChanges are the changes that are counted and no more, "FROM to TO" to packets.
func otherChanges(c record.CsumCounts) map[string]uint64 {
	out := make(map[string]uint64)
	for from, row := range c.Transitions {
		for to, n := range row {
			from, to := record.ChecksumState(from), record.ChecksumState(to)
			if n > 0 && (from != record.ChecksumNone || to != record.ChecksumUnnecessary) {
				out[fmt.Sprintf("%s to %s", from, to)] = n
			}
		}
	}
	return out
}

func (e endpoints) String() string {
	if e.source.Port() == 0 && e.destination.Port() == 0 {
		return fmt.Sprintf("%s %s to %s", e.protocolName(), e.source.Addr(), e.destination.Addr())
	}
	return fmt.Sprintf("%s %s to %s", e.protocolName(), e.source, e.destination)
}

// protocolName is of those whose checksum can be verified.
func (e endpoints) protocolName() string {
	switch e.protocol {
	case 1:
		return "icmp"
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 58:
		return "icmpv6"
	}
	return fmt.Sprint("protocol ", e.protocol)
}

func (e endpoints) detail(packets int) flowDetail {
	family := "ipv6"
	if e.source.Addr().Is4() {
		family = "ipv4"
	}
	return flowDetail{
		Family: family, Protocol: e.protocolName(), Packets: packets,
		Source: e.source.Addr(), SourcePort: e.source.Port(),
		Destination: e.destination.Addr(), DestinationPort: e.destination.Port(),
	}
}

// dump is the packet's bytes as people read them, 32 a line.
func dump(p *record.CsumCorrupt) []finding.Fact {
	const perLine = 32
	var out []finding.Fact
	label := "packet"
	for at := 0; at < len(p.Packet); at += perLine {
		out = append(out, finding.Fact{Label: label, Text: fmt.Sprintf("% x", p.Packet[at:min(at+perLine, len(p.Packet))])})
		label = ""
	}
	if left := int(p.Bytes) - len(p.Packet); left > 0 {
		out = append(out, finding.Fact{Text: fmt.Sprintf("and %d bytes more", left)})
	}
	return out
}

func plural(n uint64) string {
	if n == 1 {
		return "1 packet"
	}
	return fmt.Sprint(n, " packets")
}
