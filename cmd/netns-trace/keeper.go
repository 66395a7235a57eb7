// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/netns-trace/netns-trace/pkg/budget"
	"github.com/netns-trace/netns-trace/pkg/metrics"
	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// measureEvery is how often the kernel measures the programs, from one turn of the
// service to the next: a second of 15.
const measureEvery = 15 * time.Second

// keeper keeps the service within its budget.
type keeper struct {
	log       *slog.Logger
	policy    budget.Policy
	meter     budget.Meter
	only      []string // classes that the user wants
	maxMemory int64
	bytes     int64 // resident, when last looked at

	share    float64
	window   io.Closer // while the kernel measures
	before   []budget.Hits
	opened   time.Time
	measured time.Time
	blind    bool // the kernel does not measure for us
	off      map[string]time.Time
	exceeded bool // it was said
}

// set takes the limits, at the start or anew.
func (k *keeper) set(o *monitorOptions) {
	k.policy.Limit, k.maxMemory = float64(o.maxCPU), int64(o.maxMemory)
	k.only = o.live.only
	if len(k.only) == 0 {
		k.only = probe.Detectors()
	}
	k.policy.Deepest = deepest(k.only)
	limit := int64(math.MaxInt64)
	if k.maxMemory > 0 {
		// A part is not the collector's: the program itself, and what the kernel maps in.
		limit = k.maxMemory - 32<<20
	}
	debug.SetMemoryLimit(limit)
}

// deepest is the last step that leaves one of the classes.
func deepest(classes []string) budget.Step {
	for step := budget.NoLedgers; step > budget.NoStacks; step-- {
		left := classesOff(step)
		some := slices.ContainsFunc(classes, func(c string) bool { return slices.Contains(left, c) })
		all := !slices.ContainsFunc(classes, func(c string) bool { return !slices.Contains(left, c) })
		if some && !all {
			return step
		}
	}
	return budget.NoStacks
}

// classesOff are those that a step leaves out.
func classesOff(step budget.Step) []string {
	switch step {
	case budget.NoPackets:
		return []string{probe.DetectorCsum}
	case budget.NoLedgers:
		return []string{probe.DetectorCsum, probe.DetectorRefs, probe.DetectorDst}
	}
	return nil
}

// leaves are the classes to be left out now.
func (k *keeper) leaves() []string { return classesOff(k.policy.Step()) }

// ready is when everything is attached: what it took to get there does not count.
func (k *keeper) ready(t *tracing, now time.Time) {
	k.meter.Skip(userSpaceCPU(), now)
	k.measured = now
	k.stacks(t)
	for class, since := range k.off {
		if !slices.Contains(k.leaves(), class) {
			t.live.Lose(&record.Loss{Detector: class, Cause: "budget_seconds_off", Count: uint64(now.Sub(since).Seconds()) + 1})
			delete(k.off, class)
		}
	}
}

// stacks has stacks taken or not, and each verdict of refs say so.
func (k *keeper) stacks(t *tracing) {
	take := k.policy.Step() < budget.NoStacks
	if err := t.session.TakeStacks(take); err != nil {
		k.log.Error(err.Error())
	}
	if !take {
		t.live.Lose(&record.Loss{Detector: probe.DetectorRefs, Cause: "budget_no_stacks", Count: 1, DetailOnly: true})
	}
}

// turn measures when it is time to, and reports whether tracing has to begin anew.
func (k *keeper) turn(t *tracing, now time.Time) bool {
	switch {
	case k.window != nil:
		// It was open for a turn, which is a second or a little more.
		k.meter.Window(k.before, hits(t), now.Sub(k.opened))
		_ = k.window.Close() // the kernel goes on measuring at worst
		k.window = nil
	case now.Sub(k.measured) < measureEvery:
		return false
	case k.policy.Limit > 0 && !k.blind:
		k.measured = now
		c, err := probe.MeasurePrograms()
		if err == nil {
			k.before, k.window, k.opened = hits(t), c, now
			return false
		}
		k.blind = true
		k.log.Warn("what the programs in the kernel take is not known, and not in the budget: " + err.Error())
	}
	k.measured = now
	k.bytes = residentBytes()
	k.share = k.meter.Share(userSpaceCPU(), now)
	return k.judge(t, now)
}

func (k *keeper) judge(t *tracing, now time.Time) bool {
	was := k.policy.Step()
	if !k.policy.Observe(k.share, now) {
		if over := k.policy.Exceeded(); over != k.exceeded {
			k.exceeded = over
			k.log.Warn("the budget of CPU cannot be kept by leaving out more", "now", over, "cpu_percent", k.share*100)
		}
		return false
	}
	step := k.policy.Step()
	k.log.Warn("budget of CPU: what is left out has changed", "cpu_percent", math.Round(k.share*1e4)/1e2,
		"limit_percent", k.policy.Limit*100, "was", was.String(), "now", step.String())
	k.stacks(t)
	if k.off == nil {
		k.off = make(map[string]time.Time)
	}
	for _, class := range classesOff(step) {
		if _, already := k.off[class]; !already && slices.Contains(k.only, class) {
			k.off[class] = now
		}
	}
	return !slices.Equal(classesOff(was), classesOff(step))
}

// tell puts the budget among the metrics.
func (k *keeper) tell(s *metrics.State, now time.Time) {
	if taken, known := k.meter.Programs(now); known {
		s.CPU[metrics.PartPrograms] = taken.Seconds()
	}
	s.Share, s.Limit, s.Step = k.share, k.policy.Limit, int(k.policy.Step())
	s.Over["cpu"] = k.policy.Exceeded()
	s.Over["memory"] = k.maxMemory > 0 && k.bytes > k.maxMemory
}

func hits(t *tracing) []budget.Hits {
	var out []budget.Hits
	for _, h := range t.session.Hits() {
		out = append(out, budget.Hits{Kind: string(h.Kind), Runs: h.Runs, Time: h.Time})
	}
	return out
}

// residentBytes is how much memory this process has, 0 if the kernel does not tell.
func residentBytes() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
