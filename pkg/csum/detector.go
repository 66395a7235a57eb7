// SPDX-License-Identifier: Apache-2.0

// Package csum finds veth devices that turn CHECKSUM_NONE into
// CHECKSUM_UNNECESSARY, so that corrupt data reaches applications. See
// docs/csum.md.
package csum

import (
	"fmt"
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// KindRewrite is the kind of this class: a device rewrites. It is a risk; whether
// a packet was corrupt is not told by it.
const KindRewrite = "rewrite"

// tellEvery is how often a device that goes on is told of again.
const tellEvery = uint64(10 * time.Second)

const how = "skb->ip_summed at veth_xmit and __dev_forward_skb"

// Detector follows the devices that rewrite. The kernel's map bounds how many
// those can be.
type Detector struct {
	known   *finding.Knowledge
	devices map[key]*device
}

type key struct {
	netns   record.NetnsID
	ifindex int32
}

type device struct {
	id   string
	told uint64 // when last
	last record.CsumRewrite
	sent uint64 // packets, as last told
}

// New returns a detector that words its findings with known.
func New(known *finding.Knowledge) *Detector {
	return &Detector{known: known, devices: make(map[key]*device)}
}

// Class implements trace.Detector.
func (d *Detector) Class() finding.Class { return finding.Csum }

// Wake implements trace.Detector: nothing of this class happens by itself.
func (d *Detector) Wake() uint64 { return 0 }

// Observe takes in one record and emits what follows from it.
func (d *Detector) Observe(rec record.Record, emit func(*finding.Finding)) {
	r, ok := rec.(*record.CsumRewrite)
	if !ok {
		return
	}
	k := key{r.Netns, r.Ifindex}
	dev := d.devices[k]
	state := finding.Updated
	if dev == nil {
		dev = &device{id: finding.NewID(finding.Csum, r.Netns, r.Ifindex, r.When())}
		d.devices[k] = dev
		state = finding.Opened
	}
	dev.last = *r
	if r.Final && r.Packets != dev.sent || !r.Final && (state == finding.Opened || r.When()-dev.told >= tellEvery) {
		dev.told, dev.sent = r.When(), r.Packets
		emit(d.report(dev, state))
	}
}

func (d *Detector) report(dev *device, state finding.State) *finding.Finding {
	r := &dev.last
	peer := d.known.Netns(r.PeerNetns)
	f := &finding.Finding{
		ID: dev.id, State: state, Class: finding.Csum, Kind: KindRewrite,
		Time:     d.known.At(r.When()),
		Netns:    d.known.Netns(r.Netns),
		Device:   &finding.Device{Name: r.Name, Ifindex: r.Ifindex},
		Count:    int64(r.Packets),
		Evidence: d.known.Evidence(finding.Csum, how),
		Details: map[string]any{
			"from": "CHECKSUM_NONE", "to": "CHECKSUM_UNNECESSARY",
			"peer":       finding.Device{Name: r.PeerName, Ifindex: r.PeerIfindex},
			"peer_netns": peer,
		},
		Facts: []finding.Fact{
			{Label: "peer", Text: fmt.Sprintf("%s of netns %s", r.PeerName, peer)},
			{Label: "packets", Text: fmt.Sprint(r.Packets, " so far, each delivered without its checksum being verified")},
		},
	}
	f.Summary = fmt.Sprintf("%s of netns %s turns CHECKSUM_NONE into CHECKSUM_UNNECESSARY on the way to its peer: %d packets",
		r.Name, f.Netns, r.Packets)
	return f
}
