// SPDX-License-Identifier: Apache-2.0

package export

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/recording"
	"github.com/netns-trace/netns-trace/pkg/refs"
	"github.com/netns-trace/netns-trace/pkg/report"
	"github.com/netns-trace/netns-trace/pkg/timeline"
)

// perfetto writes a trace for ui.perfetto.dev and trace_processor: a track for each
// thread that was away, with a slice for each namespace that it was in and an arrow
// from who cloned it; counters for each device and family of holders, for checksums
// and dst entries; the findings as instants.
type perfetto struct {
	sink
	start    *recording.Start
	known    *finding.Knowledge
	timeline *timeline.Timeline
	findings []instant
	more     int // findings beyond findingsMax
	begun    bool
	tracks   uint64
}

// instant is a finding that waits to be written.
type instant struct {
	at                     uint64
	class, name, id, state string
	summary                string
}

// findingsMax bounds the findings that are held until the end.
const findingsMax = 500_000

// Numbers of fields of Perfetto's protobuf messages.
const (
	tracePacket = 1 // Trace.packet

	packetClocks    = 6
	packetTime      = 8
	packetSequence  = 10
	packetEvent     = 11
	packetFlags     = 13
	packetTrack     = 60
	sequenceCleared = 1

	snapshotClock = 1
	clockID       = 1
	clockTime     = 2
	clockRealtime = 1
	clockMono     = 3
	clockBoot     = 6

	trackUUID    = 1
	trackName    = 2
	trackProcess = 3
	trackThread  = 4
	trackParent  = 5
	trackCounter = 8
	processPID   = 1
	processName  = 6
	threadPID    = 1
	threadTID    = 2
	threadName   = 5
	counterUnit  = 3
	unitCount    = 2

	eventAnnotation = 4
	eventType       = 9
	eventTrack      = 11
	eventCategory   = 22
	eventName       = 23
	eventCounter    = 30
	eventFlow       = 47
	typeBegin       = 1
	typeEnd         = 2
	typeInstant     = 3
	typeCounter     = 4
	annotationText  = 6
	annotationName  = 10
)

func newPerfetto(w io.Writer, start *recording.Start, known *finding.Knowledge) *perfetto {
	return &perfetto{sink: sink{w: w}, start: start, known: known, timeline: timeline.New()}
}

// Record implements Writer.
func (p *perfetto) Record(rec record.Record) { p.timeline.Observe(rec) }

// Finding implements Writer.
func (p *perfetto) Finding(f *finding.Finding) {
	if len(p.findings) >= findingsMax {
		p.more++
		return
	}
	at := uint64(f.Time.UnixNano() - p.start.Clock.Realtime + int64(p.start.Clock.Monotonic))
	p.findings = append(p.findings, instant{at, string(f.Class), f.Kind, f.ID, string(f.State), f.Summary})
}

// Finish implements Writer.
func (p *perfetto) Finish(report.Recorded) error {
	p.timeline.Finish()
	p.clocks()
	p.threads()
	p.devices()
	p.counters()
	p.verdicts()
	if p.err == nil && p.more > 0 {
		p.err = fmt.Errorf("%d findings are more than a trace of Perfetto is given", p.more)
	}
	return p.err
}

// packet writes one, on the only sequence there is.
func (p *perfetto) packet(m message) {
	m = m.uint(packetSequence, 1)
	if !p.begun {
		m, p.begun = m.uint(packetFlags, sequenceCleared), true
	}
	p.write(message(nil).message(tracePacket, m))
}

// boot turns CLOCK_MONOTONIC into CLOCK_BOOTTIME, the clock of a trace.
func (p *perfetto) boot(monotonic uint64) uint64 {
	return monotonic + p.start.Clock.Boottime - p.start.Clock.Monotonic
}

func (p *perfetto) clocks() {
	clock := func(id, t uint64) message { return message(nil).uint(clockID, id).uint(clockTime, t) }
	c := p.start.Clock
	p.packet(message(nil).message(packetClocks, message(nil).
		message(snapshotClock, clock(clockBoot, c.Boottime)).
		message(snapshotClock, clock(clockMono, c.Monotonic)).
		message(snapshotClock, clock(clockRealtime, uint64(c.Realtime)))))
}

// track describes a new one and returns its number.
func (p *perfetto) track(parent uint64, name string, more func(message) message) uint64 {
	p.tracks++
	m := message(nil).uint(trackUUID, p.tracks)
	if parent != 0 {
		m = m.uint(trackParent, parent)
	}
	if name != "" {
		m = m.text(trackName, name)
	}
	if more != nil {
		m = more(m)
	}
	p.packet(message(nil).message(packetTrack, m))
	return p.tracks
}

func (p *perfetto) event(at, track, kind uint64, more func(message) message) {
	m := message(nil).uint(eventType, kind).uint(eventTrack, track)
	if more != nil {
		m = more(m)
	}
	p.packet(message(nil).uint(packetTime, p.boot(at)).message(packetEvent, m))
}

func annotation(name, text string) message {
	return message(nil).text(annotationName, name).text(annotationText, text)
}

// threads writes them by process.
func (p *perfetto) threads() {
	processes := make(map[uint32]uint64)
	tids := make(map[uint32]bool)
	flows := make(map[*timeline.Thread]map[uint64]uint64) // of a parent: when to which flow
	flow := uint64(0)
	for _, th := range p.timeline.Threads {
		if th.Parent != nil {
			flow++
			if flows[th.Parent] == nil {
				flows[th.Parent] = make(map[uint64]uint64)
			}
			flows[th.Parent][th.Cloned] = flow
			flows[th] = map[uint64]uint64{0: flow}
		}
	}
	for _, th := range p.timeline.Threads {
		if processes[th.TGID] == 0 {
			processes[th.TGID] = p.track(0, "", func(m message) message {
				return m.message(trackProcess, message(nil).uint(processPID, uint64(th.TGID)).text(processName, th.Comm))
			})
		}
		// A number can be a second thread's, which trace_processor takes for the same.
		again := tids[th.TID]
		tids[th.TID] = true
		name := ""
		if again {
			name = fmt.Sprintf("%s %d", th.Comm, th.TID)
		}
		track := p.track(processes[th.TGID], name, func(m message) message {
			if again {
				return m
			}
			return m.message(trackThread, message(nil).uint(threadPID, uint64(th.TGID)).uint(threadTID, uint64(th.TID)).text(threadName, th.Comm))
		})
		p.thread(th, track, flows[th])
	}
}

// thread writes a thread's namespaces, its arrows and its calls.
func (p *perfetto) thread(th *timeline.Thread, track uint64, flows map[uint64]uint64) {
	slice := func(from, to uint64, netns record.NetnsID, more func(message) message) {
		p.event(from, track, typeBegin, func(m message) message {
			m = m.text(eventCategory, "netns").text(eventName, p.known.Netns(netns).String())
			if more != nil {
				m = more(m)
			}
			return m
		})
		p.event(to, track, typeEnd, nil)
	}
	at := p.timeline.Begin
	if th.Parent != nil {
		at = th.Cloned
	}
	for i, s := range th.Spans {
		if s.From > at {
			slice(at, s.From, th.Home, nil)
		}
		slice(s.From, s.To, s.Netns, func(m message) message {
			if i == 0 && th.Parent != nil {
				m = m.fixed64(eventFlow, flows[0])
			}
			if i == len(th.Spans)-1 && th.Open {
				m = m.message(eventAnnotation, annotation("end", "still away when the recording ended"))
			}
			return m
		})
		at = s.To
	}
	if end := cmp.Or(th.Exited, p.timeline.End); end > at && !th.Open {
		slice(at, end, th.Home, nil)
	}
	for _, when := range slices.Sorted(maps.Keys(flows)) {
		if when == 0 {
			continue // its own begin
		}
		p.event(when, track, typeInstant, func(m message) message {
			return m.text(eventCategory, "clone").text(eventName, "clone").fixed64(eventFlow, flows[when])
		})
	}
	for _, c := range th.Calls {
		words := "socket"
		if c.To != "" {
			words = "connect to " + c.To
		}
		if c.Failed {
			words += " failed"
		}
		p.event(c.At, track, typeInstant, func(m message) message { return m.text(eventCategory, "call").text(eventName, words) })
	}
}

// counter makes a counter track.
func (p *perfetto) counter(parent uint64, name string) uint64 {
	return p.track(parent, name, func(m message) message {
		return m.message(trackCounter, message(nil).uint(counterUnit, unitCount))
	})
}

func (p *perfetto) value(at, track uint64, v int64) {
	p.event(at, track, typeCounter, func(m message) message { return m.int(eventCounter, v) })
}

func (p *perfetto) devices() {
	for _, d := range p.timeline.Devices {
		group := p.track(0, fmt.Sprintf("device %s of netns %s", d.Name, p.known.Netns(d.Netns)), nil)
		left := p.counter(group, "references")
		for _, pt := range d.Refs {
			n, _ := p.known.References(int32(pt.Values[0]))
			p.value(pt.At, left, n)
		}
		for i, family := range d.Families {
			track := p.counter(group, "held by "+refs.FamilyName(family))
			for _, pt := range d.Holders {
				if i < len(pt.Values) {
					p.value(pt.At, track, pt.Values[i])
				}
			}
			if d.Freed != 0 {
				p.value(d.Freed, track, 0)
			}
		}
		for _, purpose := range d.Purposes {
			track := p.counter(group, "taken for "+refs.PurposeWords(purpose.Family))
			for _, pt := range purpose.Left {
				p.value(pt.At, track, pt.Values[0])
			}
			if d.Freed != 0 {
				p.value(d.Freed, track, 0)
			}
		}
		if d.Freed != 0 {
			p.value(d.Freed, left, 0)
		}
	}
}

func (p *perfetto) counters() {
	for _, r := range p.timeline.Rewriters {
		group := p.track(0, fmt.Sprintf("checksums on %s of netns %s", r.Name, p.known.Netns(r.Netns)), nil)
		marked, corrupt := p.counter(group, "marked as verified"), p.counter(group, "corrupt")
		for _, pt := range r.Packets {
			p.value(pt.At, marked, pt.Values[0])
			p.value(pt.At, corrupt, pt.Values[1])
		}
	}
	for _, c := range p.timeline.Counters {
		of := "of all namespaces"
		if c.Ops.Netns.Inode != 0 {
			of = "of netns " + p.known.Netns(c.Ops.Netns).String()
		}
		track := p.counter(0, fmt.Sprintf("dst entries: %s %s", c.Ops.Kind, of))
		for _, pt := range c.Points {
			p.value(pt.At, track, pt.Values[0])
		}
	}
}

func (p *perfetto) verdicts() {
	tracks := make(map[string]uint64)
	for _, f := range p.findings {
		if tracks[f.class] == 0 {
			tracks[f.class] = p.track(0, "findings: "+f.class, nil)
		}
		p.event(f.at, tracks[f.class], typeInstant, func(m message) message {
			return m.text(eventCategory, "finding").text(eventName, f.name).
				message(eventAnnotation, annotation("summary", f.summary)).
				message(eventAnnotation, annotation("id", f.id)).
				message(eventAnnotation, annotation("state", f.state))
		})
	}
}
