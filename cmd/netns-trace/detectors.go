// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"github.com/netns-trace/netns-trace/pkg/csum"
	"github.com/netns-trace/netns-trace/pkg/dst"
	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/recording"
	"github.com/netns-trace/netns-trace/pkg/refs"
	"github.com/netns-trace/netns-trace/pkg/threads"
	"github.com/netns-trace/netns-trace/pkg/trace"
)

// newDetectors makes the detectors of a run, live or recorded: the same of the same
// configuration. unknown are classes that this version has no detector for.
func newDetectors(c recording.Config, known *finding.Knowledge) (detectors []trace.Detector, unknown []string) {
	for _, class := range c.Classes {
		switch class {
		case probe.DetectorThreads:
			detectors = append(detectors, threads.New(threads.Config{
				Away: time.Duration(c.AwayNS), HomeAny: c.HomeAny,
			}, known))
		case probe.DetectorRefs:
			detectors = append(detectors, refs.New(known))
		case probe.DetectorCsum:
			detectors = append(detectors, csum.New(csum.Config{Every: c.CsumEvery, PerSecond: c.CsumPerSecond}, known))
		case probe.DetectorDst:
			detectors = append(detectors, dst.New(known))
		default:
			unknown = append(unknown, class)
		}
	}
	return detectors, unknown
}

// config is how the detectors of this run are set.
func (t *tracing) config() recording.Config {
	o := t.options
	return recording.Config{
		Classes: t.session.Detectors(), AwayNS: int64(o.away), HomeAny: o.home == homeAny,
		CsumEvery: o.csumEvery, CsumPerSecond: o.csumRate, RingBytes: o.ringBytes, Objects: o.objects,
	}
}
