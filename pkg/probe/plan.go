// SPDX-License-Identifier: Apache-2.0

// Package probe puts the BPF programs of netns-trace into the running kernel and
// reads what they hand over. For each thing to see it has an ordered list of ways
// to see it; which one was taken, and why the others were not, is its attach
// plan. A difference between kernels is handled there and nowhere else.
package probe

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is a kind of BPF attachment.
type Kind string

// The kinds, by what they cost a hit: the first cheapest.
const (
	RawTP     Kind = "raw_tp"
	TPBTF     Kind = "tp_btf"
	Fentry    Kind = "fentry"
	Fexit     Kind = "fexit"
	Kprobe    Kind = "kprobe"
	Kretprobe Kind = "kretprobe"
	Iter      Kind = "iter"
)

// Kinds lists them all, in the order for help texts.
func Kinds() []Kind {
	return []Kind{Fentry, Fexit, TPBTF, RawTP, Kprobe, Kretprobe, Iter}
}

// Way is one way to see a thing: programs that are attached together, all or none.
// Where each goes is in the program's section; Kind and Target tell people.
type Way struct {
	Kind     Kind   `json:"kind"`
	Target   string `json:"target"` // functions or tracepoints
	programs []string
}

func (w Way) String() string { return string(w.Kind) + " " + w.Target }

// point is one thing to see.
type point struct {
	thing string
	lost  string // what is not seen without it
	ways  []Way  // best first
	// required: without it the detector is no use at all.
	required bool
	// module is the kernel module that the functions are in, "" for the kernel
	// itself. When it is not loaded the point waits for it.
	module string
	// over is the map that an iterator of map elements goes through.
	over string
}

// Refusal is why a way was not taken.
type Refusal struct {
	Way    Way    `json:"way"`
	Reason string `json:"reason"`
}

// Outcome is how one thing is seen on this kernel.
type Outcome struct {
	Detector string    `json:"detector"`
	Thing    string    `json:"thing"`
	Way      *Way      `json:"way"` // nil: it is not seen
	Refused  []Refusal `json:"refused,omitempty"`
	Lost     string    `json:"lost,omitempty"` // what that costs, when it is not seen

	// WaitsFor is the kernel module that is not loaded; it will be seen when it is.
	WaitsFor string `json:"waits_for_module,omitempty"`

	// VerifiedInstructions is how many instructions the verifier went through for
	// the programs of the way taken; 0 where the kernel does not tell (before 5.16).
	VerifiedInstructions uint32 `json:"verified_instructions,omitempty"`
}

// Plan is the attach plan as it was carried out.
type Plan []Outcome

// Lost says, in sentences, what is not told on this kernel because it cannot be
// seen.
func (p Plan) Lost() []string {
	var out []string
	unnamed := ""
	for _, o := range p.Missing() {
		switch {
		case o.Lost != lostHolders:
			out = append(out, o.Lost)
		case unnamed == "":
			unnamed = o.Thing
		default:
			unnamed += ", " + o.Thing
		}
	}
	if unnamed != "" {
		out = append(out, lostHolders+": "+unnamed)
	}
	return out
}

// Missing lists what cannot be seen on this kernel.
func (p Plan) Missing() []Outcome {
	var out []Outcome
	for _, o := range p {
		if o.Way == nil && o.WaitsFor == "" {
			out = append(out, o)
		}
	}
	return out
}

// SeesFree reports whether the freeing of devices is seen on this kernel.
func (p Plan) SeesFree() bool { return p.sees(thingFreed) }

// ScansHolders reports whether what holds the devices that wait can be told here.
func (p Plan) ScansHolders() bool { return p.sees(thingHolders) }

// HoldersByKprobe reports whether some holders are seen by kprobes.
func (p Plan) HoldersByKprobe() bool {
	return slices.ContainsFunc(p, func(o Outcome) bool {
		family := slices.ContainsFunc(holderPoints, func(h point) bool { return h.thing == o.Thing })
		return family && o.Way != nil && (o.Way.Kind == Kprobe || o.Way.Kind == Kretprobe || o.Way.Kind == RawTP)
	})
}

func (p Plan) sees(thing string) bool {
	return slices.ContainsFunc(p, func(o Outcome) bool { return o.Thing == thing && o.Way != nil })
}

// UnseenError is a detector that cannot work on this kernel.
type UnseenError struct{ Outcome Outcome }

func (e *UnseenError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cannot see %s, which %s needs:", e.Outcome.Thing, e.Outcome.Detector)
	for _, r := range e.Outcome.Refused {
		fmt.Fprintf(&b, "\n  %s: %s", r.Way, r.Reason)
	}
	return b.String()
}
