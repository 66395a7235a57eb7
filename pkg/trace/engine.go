// SPDX-License-Identifier: Apache-2.0

// Package trace runs records through detectors: those of a live kernel now, and
// in the same way those of a recording.
package trace

import (
	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// Detector looks for one class of bugs in the stream of records. It does no I/O
// and has no clock but the records': the same records give the same findings.
type Detector interface {
	Class() finding.Class
	// Observe takes in one record and emits what follows from it. The record is
	// valid only during the call.
	Observe(rec record.Record, emit func(*finding.Finding))
	// Wake is the time (ns of CLOCK_MONOTONIC) at which the detector wants a
	// record.Tick if nothing else happens; 0: never.
	Wake() uint64
}

// Engine feeds records to detectors.
type Engine struct {
	known     *finding.Knowledge
	detectors []Detector
	emit      func(*finding.Finding)
	tap       Tap
}

// Tap gets every record that is fed to an engine, in order, before the detectors do.
type Tap interface {
	// Fed takes in one record. raw are the bytes that it had in the kernel's ring
	// buffer, nil for one that was made in user space. Both are valid only during the
	// call.
	Fed(rec record.Record, raw []byte)
}

// NewEngine makes an engine. The detectors must word their findings with known,
// which the engine keeps up to date; emit gets every finding, in order.
func NewEngine(known *finding.Knowledge, emit func(*finding.Finding), detectors ...Detector) *Engine {
	return &Engine{known: known, detectors: detectors, emit: emit}
}

// SetTap gives the engine a tap. Records that were fed before do not reach it.
func (e *Engine) SetTap(t Tap) { e.tap = t }

// Feed runs one record through everything.
func (e *Engine) Feed(rec record.Record) { e.feed(rec, nil) }

// FeedRaw does so with a record that was decoded from raw and not changed since.
func (e *Engine) FeedRaw(rec record.Record, raw []byte) { e.feed(rec, raw) }

func (e *Engine) feed(rec record.Record, raw []byte) {
	if e.tap != nil {
		e.tap.Fed(rec, raw)
	}
	if e.known.Observe(rec) {
		return
	}
	for _, d := range e.detectors {
		d.Observe(rec, e.emit)
	}
}

// Wake is the earliest time at which a detector wants a tick; 0: none does.
func (e *Engine) Wake() uint64 {
	var first uint64
	for _, d := range e.detectors {
		if w := d.Wake(); w != 0 && (first == 0 || w < first) {
			first = w
		}
	}
	return first
}
