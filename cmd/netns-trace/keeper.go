// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/netns-trace/netns-trace/pkg/budget"
	"github.com/netns-trace/netns-trace/pkg/metrics"
	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// measureEvery is how often the kernel measures the programs, from one turn of the
// service to the next: a second of 15. In a flood it is a second of 5: there are five
// steps, and the host wants its CPU back.
const (
	measureEvery = 15 * time.Second
	floodEvery   = 5 * time.Second
)

// keeper keeps the service within its budget.
type keeper struct {
	log    *slog.Logger
	policy budget.Policy
	meter  budget.Meter
	wants  *liveOptions // what the user wants
	memory memory
	// searchable: the kernel's memory can be searched.
	searchable bool

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
	k.policy.Limit = float64(o.maxCPU)
	k.wants = &o.live
	k.policy.Steps = steps(k.wants, k.searchable)
	k.memory.set(o)
}

// classes are those that the user wants.
func (o *liveOptions) classes() []string {
	if len(o.only) == 0 {
		return probe.Detectors()
	}
	return o.only
}

// steps are those that leave out something, and leave one of the classes.
func steps(o *liveOptions, searchable bool) []budget.Step {
	refs, threads := slices.Contains(o.classes(), probe.DetectorRefs), slices.Contains(o.classes(), probe.DetectorThreads)
	follows := refs && !o.bySearch()
	packets, ledgers := o.without(budget.NoPackets), o.without(budget.NoLedgers)
	var out []budget.Step
	for _, s := range []struct {
		step  budget.Step
		takes bool
	}{
		{budget.NoStacks, follows || threads},
		{budget.Sampled, follows && o.refs != refsSites && o.sample.n() < budget.OneIn},
		{budget.NoPackets, packets > 0 || refs && o.hotSites},
		{budget.BySearch, follows && searchable},
		{budget.NoLedgers, ledgers > packets || threads},
		{budget.NoMoves, threads},
	} {
		if s.takes {
			out = append(out, s.step)
		}
	}
	return out
}

// without is how many of the classes that the user wants a step leaves out; none if it
// would leave out all.
func (o *liveOptions) without(step budget.Step) int {
	left := slices.DeleteFunc(slices.Clone(o.classes()), func(c string) bool { return slices.Contains(classesOff(step), c) })
	if len(left) == 0 {
		return 0
	}
	return len(o.classes()) - len(left)
}

// classesOff are those that a step leaves out.
func classesOff(step budget.Step) []string {
	switch step {
	case budget.NoPackets, budget.BySearch:
		return []string{probe.DetectorCsum}
	case budget.NoLedgers, budget.NoMoves:
		return []string{probe.DetectorCsum, probe.DetectorRefs, probe.DetectorDst}
	}
	return nil
}

// leaves are the classes to be left out now.
func (k *keeper) leaves() []string {
	if k.memory.policy.Step() == budget.NoLedgers { // which leaves out the most
		return classesOff(budget.NoLedgers)
	}
	return classesOff(k.policy.Step())
}

// leaveOut takes from the options of a run what is to be left out now.
func (k *keeper) leaveOut(o *liveOptions) {
	o.leftOut = k.leaves()
	o.hotSites = o.hotSites && k.policy.Step() < budget.NoPackets
	o.noMoves = k.policy.Step() >= budget.NoMoves
	o.sample = k.sample()
	if k.policy.Step() == budget.BySearch {
		o.refs, o.sample, o.device, o.jumps = refsSearch, 0, "", false
	}
	o.tableBytes = uint64(k.memory.tableRoom())
}

// sample is how objects are to be followed now.
func (k *keeper) sample() oneIn {
	if k.policy.Step() >= budget.Sampled {
		return max(k.wants.sample, budget.OneIn)
	}
	return k.wants.sample
}

// processCPU is what this process has taken but for searches of memory: those are few and
// far between whatever is attached, and leaving out probes does not make them fewer.
func processCPU(t *tracing) time.Duration { return userSpaceCPU() - t.live.SearchCPU() }

// ready is when everything is attached: what it took to get there does not count.
func (k *keeper) ready(t *tracing, now time.Time) {
	k.meter.Skip(processCPU(t), now)
	k.measured = now
	k.memory.ready(t)
	if room := t.session.TableRoom(); room > 1 {
		k.log.Warn("the kernel's large tables have a part of their room, to stay within the budget of memory",
			"part", fmt.Sprintf("1/%d", room), "tables_mib", mebibytes(k.memory.tables), "limit_mib", mebibytes(k.memory.limit))
	}
	k.thin(t)
	k.share = 0 // what was measured led here, and is not so any more
	for class, since := range k.off {
		if !slices.Contains(k.leaves(), class) {
			t.live.Lose(&record.Loss{Detector: class, Cause: "budget_seconds_off", Count: uint64(now.Sub(since).Seconds()) + 1})
			delete(k.off, class)
		}
	}
}

// thin has stacks taken or not, moves of threads told at once, late or never, and most
// objects followed or not, and each verdict say so.
func (k *keeper) thin(t *tracing) {
	step := k.policy.Step()
	lacks := func(class, cause string, detailOnly bool) {
		if slices.Contains(t.session.Detectors(), class) {
			t.live.Lose(&record.Loss{Detector: class, Cause: cause, Count: 1, DetailOnly: detailOnly})
		}
	}
	moves := probe.MovesTold
	if step >= budget.NoStacks {
		moves = probe.MovesLate
		lacks(probe.DetectorThreads, "budget_no_stacks", true)
		if !t.searches() {
			lacks(probe.DetectorRefs, "budget_no_stacks", true)
		}
	}
	if step >= budget.NoLedgers {
		t.session.LeaveOutCalls()
		lacks(probe.DetectorThreads, "budget_no_calls", true)
	}
	if step >= budget.NoMoves {
		moves = probe.MovesUnseen
		lacks(probe.DetectorThreads, "budget_no_moves", false)
	}
	for _, err := range []error{t.live.Sample(k.sample().n()), t.session.TakeStacks(step < budget.NoStacks), t.live.TellMoves(moves)} {
		if err != nil {
			k.log.Error(err.Error())
		}
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
	case now.Sub(k.measured) < k.every():
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
	k.share = k.meter.Share(processCPU(t), now)
	again := k.judge(t, now)
	return k.judgeMemory(now) || again
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
	k.thin(t)
	k.noteOff(now)
	if was < budget.NoPackets && step < budget.NoPackets {
		return false
	}
	if was < step && step == budget.NoMoves {
		return false
	}
	if was < step && step == budget.NoPackets && !k.wants.hotSites {
		// To attach all the rest anew takes longer than a flood may have.
		if err := t.live.LeaveOutCsum(); err != nil {
			k.log.Error(err.Error())
			return true
		}
		k.memory.tables = int64(t.session.TableBytes())
		return false
	}
	return true
}

// judgeMemory reports whether tracing has to begin anew, with smaller tables or larger.
func (k *keeper) judgeMemory(now time.Time) bool {
	m := &k.memory
	was := m.policy.Step()
	if !m.observe(now) {
		if over := m.policy.Exceeded(); over != m.exceeded {
			m.exceeded = over
			k.log.Warn("the budget of memory cannot be kept by leaving out more", "now", over,
				"process_mib", mebibytes(m.process), "tables_mib", mebibytes(m.tables), "limit_mib", mebibytes(m.limit))
		}
		return false
	}
	k.noteOff(now)
	k.log.Warn("budget of memory: what is left out has changed", "process_mib", mebibytes(m.process), "tables_mib", mebibytes(m.tables),
		"limit_mib", mebibytes(m.limit), "was", was.String(), "now", m.policy.Step().String())
	return true
}

func mebibytes(n int64) float64 { return math.Round(float64(n)/(1<<20)*10) / 10 }

// noteOff remembers since when classes are left out.
func (k *keeper) noteOff(now time.Time) {
	if k.off == nil {
		k.off = make(map[string]time.Time)
	}
	for _, class := range k.leaves() {
		if _, already := k.off[class]; !already && slices.Contains(k.wants.classes(), class) {
			k.off[class] = now
		}
	}
}

func (k *keeper) every() time.Duration {
	if k.policy.Hurried() {
		return floodEvery
	}
	return measureEvery
}

// tell puts the budget among the metrics.
func (k *keeper) tell(s *metrics.State, now time.Time) {
	if taken, known := k.meter.Programs(now); known {
		s.CPU[metrics.PartPrograms] = taken.Seconds()
	}
	s.Share, s.Limit, s.Step = k.share, k.policy.Limit, int(k.policy.Step())
	s.Over["cpu"] = k.policy.Exceeded()
	m := &k.memory
	s.Memory = map[string]float64{metrics.PartProcess: float64(m.process), metrics.PartTables: float64(m.tables)}
	s.MemoryLimit, s.MemoryStep = float64(m.limit), slices.Index(m.policy.Steps, m.policy.Step())+1
	s.Over["memory"] = m.policy.Exceeded()
}

func hits(t *tracing) []budget.Hits {
	var out []budget.Hits
	for _, h := range t.session.Hits() {
		out = append(out, budget.Hits{Kind: string(h.Kind), Runs: h.Runs, Time: h.Time})
	}
	return out
}
