// SPDX-License-Identifier: Apache-2.0

// Package budget keeps what tracing costs below a limit: it says what to leave out
// when that is exceeded, in a fixed order, and when to take it in again. It has no
// clock and measures nothing: it is told.
package budget

import (
	"cmp"
	"fmt"
	"time"
)

// Step is how much is left out: all of the steps up to it are.
type Step int

// The steps, in the order in which they are taken.
const (
	Everything  Step = iota // nothing is left out
	NoStacks                // no call traces of references and of objects that hold devices
	Sampled                 // most objects that hold devices: one in OneIn is followed
	NoPackets               // no probe that is hit by each packet: class csum, and hot sites
	BySearch                // no reference and no object is followed: memory is searched for what holds a device
	NoLedgers               // nothing that is hit by each reference, routing entry or connection: classes refs and dst
	NoMoves                 // nothing that is hit by each move of a thread to another namespace
	SmallTables             // of memory: most of the room in the kernel's tables
)

// OneIn is of how many objects one is followed at the step Sampled.
const OneIn = 64

// String names it, as in the log and in the metrics' help.
func (s Step) String() string {
	switch s {
	case Everything:
		return "everything"
	case NoStacks:
		return "no stacks"
	case Sampled:
		return "sampling"
	case NoPackets:
		return "no probes of packets"
	case BySearch:
		return "references by search"
	case NoLedgers:
		return "threads only"
	case NoMoves:
		return "no moves"
	case SmallTables:
		return "small tables"
	}
	return fmt.Sprintf("step %d", int(s))
}

const (
	// patience is how many measurements in a row have to be over the limit: one alone
	// may be a moment.
	patience = 3
	// flood is how many times the limit is too much to wait.
	flood = 4
	// calm is the default of Policy.Calm.
	calm = 0.5
	// firstRest is how long it has to be calm, the first time; each time that a step up
	// had to be taken back it doubles, to lastRest.
	firstRest = 2 * time.Minute
	lastRest  = time.Hour
	// proven is how long a step up has to last before it counts as good.
	proven = 10 * time.Minute
)

// Policy is the state of a budget. Its zero value has no limit.
type Policy struct {
	Limit float64 // of one CPU, or whatever else is observed, 0.01 is 1 %; 0: none
	// Steps are those that can be taken, in their order.
	Steps []Step
	// Calm is the share of the limit below which something may be taken in again; 0 is
	// half of it: what was left out cost something, and that is not known while it is
	// out.
	Calm float64

	taken     int // of Steps
	flooded   bool
	over      int       // measurements in a row
	calmSince time.Time // zero: it is not calm
	rest      time.Duration
	raised    time.Time // of the last step up; zero: none, or it is proven
}

// Step is what is to be left out now.
func (p *Policy) Step() Step {
	if p.taken == 0 {
		return Everything
	}
	return p.Steps[p.taken-1]
}

// Hurried reports whether the last share was so far over the limit that the next should
// be observed soon, because there is something left to leave out.
func (p *Policy) Hurried() bool { return p.flooded && p.taken < len(p.Steps) }

// Observe takes in what tracing cost since the last time, as a share like Limit, and
// reports whether the step has changed.
func (p *Policy) Observe(share float64, now time.Time) bool {
	if p.rest == 0 {
		p.rest = firstRest
	}
	if p.Limit <= 0 {
		changed := p.taken > 0
		*p = Policy{Steps: p.Steps, Calm: p.Calm}
		return changed
	}
	if !p.raised.IsZero() && now.Sub(p.raised) >= proven {
		p.raised, p.rest = time.Time{}, firstRest
	}
	p.flooded = share > p.Limit*flood
	switch {
	case share > p.Limit:
		p.over++
		p.calmSince = time.Time{}
	case share < p.Limit*cmp.Or(p.Calm, calm):
		p.over = 0
		if p.calmSince.IsZero() {
			p.calmSince = now
		}
	default:
		p.over, p.calmSince = 0, time.Time{}
	}
	switch {
	case (p.over >= patience || p.flooded) && p.taken < len(p.Steps):
		p.taken++
		if !p.raised.IsZero() {
			p.rest = min(2*p.rest, lastRest)
		}
		p.over, p.raised = 0, time.Time{}
		return true
	case p.taken > 0 && !p.calmSince.IsZero() && now.Sub(p.calmSince) >= p.rest:
		p.taken--
		p.calmSince, p.raised = time.Time{}, now
		return true
	}
	return false
}

// Exceeded reports whether the limit is exceeded and nothing more can be left out.
func (p *Policy) Exceeded() bool { return p.Limit > 0 && p.taken == len(p.Steps) && p.over >= patience }
