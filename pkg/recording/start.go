// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"encoding/json"
	"time"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// Start is the start section: what a reader must know before the first record. Its
// JSON is in the file; keys are added, never renamed.
type Start struct {
	Format  int       `json:"format"`
	Tool    string    `json:"tool"` // version of the writer
	Written time.Time `json:"written"`
	// Zone is that of the recording machine, so that a report shows the times that
	// were on its wall.
	Zone    Zone     `json:"zone"`
	Host    Host     `json:"host"`
	Clock   Clocks   `json:"clock"`
	Config  Config   `json:"config"`
	Command []string `json:"command,omitempty"` // as typed
	Watched []string `json:"watched,omitempty"` // in words
	// Plan is how each thing was seen on this kernel, in the form of `doctor --json`.
	Plan   json.RawMessage `json:"plan,omitempty"`
	Unseen []string        `json:"unseen,omitempty"` // what could not be, in words
	// Part counts the files of one recording, from 0; Before are the records known to
	// be missing because they are in files before this one, or left the memory of a
	// flight recorder.
	Part   int    `json:"part"`
	Before uint64 `json:"before,omitempty"`
	// Known are the records at the beginning that only repeat what was known then.
	Known    int             `json:"known,omitempty"`
	Redacted bool            `json:"redacted,omitempty"`
	Made     *Schema         `json:"made"`          // records made in user space
	Raw      []record.Layout `json:"raw,omitempty"` // records of the ring
}

// Zone is a time zone at the time of the recording.
type Zone struct {
	Name   string `json:"name"`
	Offset int    `json:"offset_s"` // seconds east of UTC
}

// Location is the zone as package time has it; nil when it is not known.
func (z Zone) Location() *time.Location {
	if z.Name == "" {
		return nil
	}
	return time.FixedZone(z.Name, z.Offset)
}

// Host is the machine: uname(2), its boot, and the kernel's configuration as far as it
// matters.
type Host struct {
	Name    string            `json:"name,omitempty"`
	System  string            `json:"system"`
	Release string            `json:"release"`
	Version string            `json:"version"`
	Machine string            `json:"machine"`
	BootID  string            `json:"boot_id,omitempty"`
	CPUs    int               `json:"cpus,omitempty"`
	Kernel  map[string]string `json:"kernel_config,omitempty"`
}

// Clocks ties CLOCK_MONOTONIC, in which all records are, to the others. All in ns.
type Clocks struct {
	Monotonic uint64 `json:"monotonic_ns"`
	Realtime  int64  `json:"realtime_ns"`
	Boottime  uint64 `json:"boottime_ns"`
}

// Config is how the detectors were set: a replay sets them the same.
type Config struct {
	Classes       []string `json:"classes"` // bug classes at work
	AwayNS        int64    `json:"away_ns"`
	HomeAny       bool     `json:"home_any,omitempty"`
	CsumEvery     uint32   `json:"csum_every"`
	CsumPerSecond uint32   `json:"csum_per_second"`
	RingBytes     int      `json:"ring_bytes,omitempty"`
	Objects       int      `json:"objects,omitempty"`
}

// End is the end section: totals, and why the file ends.
type End struct {
	Time     uint64            `json:"time_ns"` // CLOCK_MONOTONIC
	Reason   string            `json:"reason"`  // finished, or continued: in another file
	Duration time.Duration     `json:"duration_ns"`
	Records  uint64            `json:"records"` // in the file
	Types    map[string]uint64 `json:"types"`
	Read     uint64            `json:"read"` // records that came out of the ring buffer
	Lost     map[string]uint64 `json:"lost,omitempty"`
	Unseen   []string          `json:"unseen,omitempty"`
	Watched  []string          `json:"watched,omitempty"`
	Found    map[string]int    `json:"found,omitempty"`     // incidents, by "class kind"
	TooLarge uint64            `json:"too_large,omitempty"` // records that did not fit a block
}

// The reasons of End.
const (
	ReasonFinished  = "finished"
	ReasonContinued = "continued"
)
