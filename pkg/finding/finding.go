// SPDX-License-Identifier: Apache-2.0

// Package finding says what a finding is: the one thing that detectors make and
// that every output shows. Its JSON form is a contract, described in
// docs/findings.md: fields are added, never renamed or removed.
package finding

import (
	"encoding/json"
	"time"
)

// Class is a class of bugs, and the name of the detector that looks for it.
type Class string

// The bug classes.
const (
	Refs    Class = "refs"
	Threads Class = "threads"
	Csum    Class = "csum"
	Dst     Class = "dst"
)

// State is where in its life a finding is. One incident keeps its ID through all
// of them.
type State string

// A finding is opened once, updated as more is known, and closed when it ended.
const (
	Opened  State = "opened"
	Updated State = "updated"
	Closed  State = "closed"
)

// Finding is one verdict.
type Finding struct {
	ID       string         `json:"id"` // the incident: the same for all its states
	State    State          `json:"state"`
	Class    Class          `json:"class"`
	Kind     string         `json:"kind"`
	Time     time.Time      `json:"time"` // of the event that it reports, not of its printing
	Summary  string         `json:"summary"`
	Netns    *Netns         `json:"netns,omitempty"`
	Device   *Device        `json:"device,omitempty"`
	Process  *Process       `json:"process,omitempty"`
	Count    int64          `json:"count"`
	Stack    []string       `json:"stack,omitempty"` // sym+0xoff/0xsize [module], innermost first
	Traces   []Trace        `json:"traces,omitempty"`
	Evidence Evidence       `json:"evidence"`
	Details  map[string]any `json:"details,omitempty"`

	// Facts are the same things worded for people, in the order to read them. JSON
	// has them in Details.
	Facts []Fact `json:"-"`
}

// Netns is a network namespace. Name is that of `ip netns` or of the container
// runtime, "host" for the one of pid 1.
type Netns struct {
	Inode         uint32 `json:"inode"`
	Cookie        uint64 `json:"cookie,omitempty"`
	Name          string `json:"name,omitempty"`
	Container     string `json:"container,omitempty"`
	ContainerName string `json:"container_name,omitempty"`
}

// Device is a net_device.
type Device struct {
	Name    string `json:"name"`
	Ifindex int32  `json:"ifindex"`
}

// Process is a thread and its process, by the numbers of the initial pid
// namespace.
type Process struct {
	PID           uint32    `json:"pid"`
	TID           uint32    `json:"tid"`
	Comm          string    `json:"comm"`
	Container     string    `json:"container,omitempty"`
	ContainerName string    `json:"container_name,omitempty"`
	Start         time.Time `json:"start,omitzero"`
}

// Trace is one call trace by which references were taken or dropped.
type Trace struct {
	Count int64     `json:"count"` // references taken; negative: dropped
	Place string    `json:"place"` // the instruction: symbol+0xoff [module]
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
	PID   uint32    `json:"pid,omitempty"` // of the first time
	TID   uint32    `json:"tid,omitempty"`
	Comm  string    `json:"comm,omitempty"`
	Stack []string  `json:"stack,omitempty"` // innermost first; empty when none was taken
}

// Evidence is how far a verdict can be relied on.
type Evidence struct {
	Complete bool             `json:"complete"`       // nothing was lost that it depends on
	Lost     map[string]int64 `json:"lost,omitempty"` // what was, by cause, up to its time
	How      string           `json:"how"`            // the probes behind it
	// Sampled is the part of the objects that was followed, such as "1/64"; "": all.
	Sampled string `json:"sampled,omitempty"`
}

// Line is the finding as one line of JSON, newline included.
func (f *Finding) Line() ([]byte, error) {
	b, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// Fact is one labelled line of a finding as people read it.
type Fact struct{ Label, Text string }
