// SPDX-License-Identifier: Apache-2.0

package budget

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

const every = 15 * time.Second

var all = []Step{NoStacks, Sampled, NoPackets, NoLedgers}

// course is the steps that a policy takes while the share is that of each phase, as
// "STEP@SECONDS".
func course(p *Policy, now time.Time, phases ...phase) []string {
	var out []string
	for _, ph := range phases {
		for end := now.Add(ph.lasts); now.Before(end); now = now.Add(every) {
			if p.Observe(ph.share, now) {
				out = append(out, fmt.Sprintf("%s@%d", p.Step(), now.Unix()))
			}
		}
	}
	return out
}

type phase struct {
	share float64
	lasts time.Duration
}

func TestPolicy(t *testing.T) {
	for _, test := range []struct {
		name   string
		policy Policy
		phases []phase
		want   string
	}{
		{name: "below the limit", policy: Policy{Limit: 0.01, Steps: all}, phases: []phase{{0.009, time.Hour}}},
		{name: "no limit", phases: []phase{{9, time.Hour}}},
		{
			name: "a moment over it", policy: Policy{Limit: 0.01, Steps: all},
			phases: []phase{{0.02, 2 * every}, {0.001, every}, {0.02, 2 * every}, {0.001, time.Hour}},
		},
		{
			name: "over it for long: in the stated order, down to the last", policy: Policy{Limit: 0.01, Steps: all},
			phases: []phase{{0.02, 10 * time.Minute}},
			want:   "no stacks@30 sampling@75 no probes of packets@120 threads only@165",
		},
		{
			name: "a flood: at once", policy: Policy{Limit: 0.01, Steps: all}, phases: []phase{{0.5, time.Minute}},
			want: "no stacks@0 sampling@15 no probes of packets@30 threads only@45",
		},
		{
			name: "it was enough, and it stays near the limit: nothing is taken in again", policy: Policy{Limit: 0.01, Steps: all},
			phases: []phase{{0.02, 3 * every}, {0.007, time.Hour}},
			want:   "no stacks@30",
		},
		{
			name: "calm again: step by step", policy: Policy{Limit: 0.01, Steps: all},
			phases: []phase{{0.5, 2 * every}, {0.001, 10 * time.Minute}},
			want:   "no stacks@0 sampling@15 no stacks@150 everything@285",
		},
		{
			name: "no more than can be left out", policy: Policy{Limit: 0.01, Steps: all[:1]},
			phases: []phase{{0.5, time.Minute}}, want: "no stacks@0",
		},
		{
			name: "nothing can be left out", policy: Policy{Limit: 0.01}, phases: []phase{{0.5, time.Minute}},
		},
		{
			name: "steps that would leave out nothing are passed over", policy: Policy{Limit: 0.01, Steps: []Step{NoPackets, NoLedgers}},
			phases: []phase{{0.5, time.Minute}}, want: "no probes of packets@0 threads only@15",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := strings.Join(course(&test.policy, time.Unix(0, 0), test.phases...), " "); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// What is left out makes it calm, and taken in again it is too much again: that must
// not go on every two minutes.
func TestPolicyDoesNotFlap(t *testing.T) {
	p := &Policy{Limit: 0.01, Steps: all}
	changes := 0
	now := time.Unix(0, 0)
	for range int((24 * time.Hour) / every) {
		share := 0.02
		if p.Step() >= NoStacks {
			share = 0.001
		}
		if p.Observe(share, now) {
			changes++
		}
		now = now.Add(every)
	}
	if changes > 70 {
		t.Errorf("%d changes a day", changes)
	}
	// From then on it is quiet: after ten minutes that is believed.
	got := course(p, now, phase{0.001, 3 * time.Hour})
	if p.Step() != Everything || slices.Contains(got, "no stacks") {
		t.Errorf("it ends with %s: %s", p.Step(), got)
	}
}

func TestLimitTakenAway(t *testing.T) {
	p := &Policy{Limit: 0.01, Steps: all}
	p.Observe(1, time.Unix(0, 0))
	p.Limit = 0
	if !p.Observe(1, time.Unix(15, 0)) || p.Step() != Everything {
		t.Errorf("without a limit: %s", p.Step())
	}
}

func TestMeter(t *testing.T) {
	var m Meter
	t0 := time.Unix(100, 0)
	if got := m.Share(time.Second, t0); got != 0 {
		t.Errorf("at first: %v", got)
	}
	m.Programs(t0)
	// 10,000 packets in a second, two fentry programs of 100 ns each.
	m.Window(
		[]Hits{{"fentry", 100, 10_000}, {"kprobe", 5, 5}},
		[]Hits{{"fentry", 20_100, 10_000 + 2_000_000}, {"kprobe", 1, 1}}, time.Second,
	)
	// 2 ms by the kernel's measure and 20,000 times 59 ns aside is 0.318 %.
	now := t0.Add(10 * time.Second)
	if got, want := m.Share(1100*time.Millisecond, now), 0.01+0.00318; math.Abs(got-want) > 1e-9 {
		t.Errorf("share %v, want %v", got, want)
	}
	if got, known := m.Programs(now); !known || got != 31800*time.Microsecond {
		t.Errorf("programs: %s, %v", got, known)
	}
	// Tracing anew took 10 seconds, and what it attached is not what was measured.
	now = now.Add(10 * time.Second)
	m.Skip(5*time.Second, now)
	now = now.Add(time.Second)
	if got := m.Share(5*time.Second, now); got != 0 {
		t.Errorf("after a start that does not count: %v", got)
	}
	if got, known := m.Programs(now); !known || got != 31800*time.Microsecond {
		t.Errorf("programs that nobody has measured since tracing began anew were counted: %s, %v", got, known)
	}
	m.Window(nil, []Hits{{"kprobe", 1000, 693_000}}, time.Second) // and 307 ns aside each
	now = now.Add(time.Second)
	if got := m.Share(5*time.Second, now); math.Abs(got-0.001) > 1e-9 {
		t.Errorf("by the first window after a start %v, want 0.1 %%", got)
	}
}

// In a flood the next measurement must not be waited for as long as otherwise, but
// only while something is left that can be left out.
func TestHurried(t *testing.T) {
	p := &Policy{Limit: 0.01, Steps: all[:2]}
	now := time.Unix(0, 0)
	for i, want := range []struct {
		share   float64
		hurried bool
	}{{0.02, false}, {0.05, true}, {0.005, false}, {0.05, false}} {
		p.Observe(want.share, now)
		if p.Hurried() != want.hurried {
			t.Errorf("measurement %d, %g at step %s: hurried %v", i, want.share, p.Step(), p.Hurried())
		}
	}
}
