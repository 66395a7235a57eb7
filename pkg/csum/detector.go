// SPDX-License-Identifier: Apache-2.0

// Package csum finds devices that turn CHECKSUM_NONE into CHECKSUM_UNNECESSARY, so
// that a receiver trusts a checksum that nobody has looked at, and tells of the
// packets among them whose checksum was wrong. See docs/csum.md.
package csum

import (
	"slices"
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// The kinds of this class.
const (
	// KindRewrite is a device that rewrites. It is a risk, and no more than that.
	KindRewrite = "rewrite"
	// KindCorrupt is a rewritten packet whose checksum was wrong: its receiver will
	// not notice.
	KindCorrupt = "corrupt-delivered"
)

const (
	// tellEvery is how often what goes on is told again, in ns.
	tellEvery = uint64(10 * time.Second)
	// flowsMax is how many flows of corrupt packets are kept for one device.
	flowsMax = 8
)

// Config is what was asked of the kernel.
type Config struct {
	Every     uint32 // one in so many rewritten packets is verified
	PerSecond uint32 // and at most so many a second
}

// Detector follows the devices that rewrite. The kernel's map bounds how many
// those can be.
type Detector struct {
	config  Config
	known   *finding.Knowledge
	devices map[key]*device
}

// key is an incident's: one for each device and each way of rewriting.
type key struct {
	netns     record.NetnsID
	birth     uint32
	ifindex   int32
	by        record.CsumBy
	direction record.CsumDirection
}

func keyOf(r *record.CsumDevice) key { return key{r.Netns, r.Birth, r.Ifindex, r.By, r.Direction} }

type device struct {
	last      record.CsumDevice // as last told by the kernel
	counts    record.CsumCounts
	rewrite   incident
	corrupt   incident
	corrupted *record.CsumCorrupt // the last that is known
	flows     []flow
	more      bool // than flowsMax
}

// incident is what was told of one.
type incident struct {
	id    string
	told  uint64 // when last
	count uint64 // as last told
}

// flow is where corrupt packets came from and went to.
type flow struct {
	at      endpoints
	packets int // that records were made of
}

// New returns a detector that words its findings with known.
func New(config Config, known *finding.Knowledge) *Detector {
	return &Detector{config: config, known: known, devices: make(map[key]*device)}
}

// Class implements trace.Detector.
func (d *Detector) Class() finding.Class { return finding.Csum }

// Wake implements trace.Detector: nothing of this class happens by itself.
func (d *Detector) Wake() uint64 { return 0 }

// Observe takes in one record and emits what follows from it.
func (d *Detector) Observe(rec record.Record, emit func(*finding.Finding)) {
	switch r := rec.(type) {
	case *record.CsumRewrite:
		if r.Packets == 0 {
			return // other changes of the mark, which are nobody's bug
		}
		dev := d.device(&r.CsumDevice)
		dev.counts = r.CsumCounts
		if dev.rewrite.due(r.When(), r.Packets, r.Final) {
			emit(d.rewriteFinding(dev, r.When()))
		}
		// The first corrupt packet has a record of its own, on its way: it opens the
		// incident, unless it was lost.
		n := r.Verdicts.Corrupt
		if n > 0 && (dev.corrupt.id != "" || r.Final) && dev.corrupt.due(r.When(), n, r.Final) {
			emit(d.corruptFinding(dev, r.When(), n))
		}
	case *record.CsumCorrupt:
		dev := d.device(&r.CsumDevice)
		dev.keep(r)
		n := max(r.Corrupt, dev.counts.Verdicts.Corrupt)
		dev.counts.Verdicts.Corrupt = n
		if dev.corrupt.due(r.When(), n, false) {
			emit(d.corruptFinding(dev, r.When(), n))
		}
	}
}

func (d *Detector) device(r *record.CsumDevice) *device {
	k := keyOf(r)
	dev := d.devices[k]
	if dev == nil {
		dev = &device{}
		d.devices[k] = dev
	}
	dev.last = *r
	return dev
}

// due reports whether to tell now: at first, then at most every ten seconds; and at
// the end if there is anything new.
func (i *incident) due(now, count uint64, final bool) bool {
	if i.id != "" && now-i.told < tellEvery && !final {
		return false
	}
	return count != i.count
}

// tell takes note that the incident is told, and returns its state.
func (i *incident) tell(kind string, dev *record.CsumDevice, now, count uint64) finding.State {
	state := finding.Updated
	if i.id == "" {
		i.id = finding.NewID(finding.Csum, kind, keyOf(dev), now)
		state = finding.Opened
	}
	i.told, i.count = now, count
	return state
}

// keep remembers a corrupt packet: the last one whole, of the others the flow.
func (dev *device) keep(r *record.CsumCorrupt) {
	last := *r
	last.Packet = slices.Clone(r.Packet)
	dev.corrupted = &last
	at := endpoints{r.Protocol, r.Source, r.Destination}
	for i := range dev.flows {
		if dev.flows[i].at == at {
			dev.flows[i].packets++
			return
		}
	}
	if len(dev.flows) == flowsMax {
		dev.more = true
		return
	}
	dev.flows = append(dev.flows, flow{at: at, packets: 1})
}
