// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"

	"github.com/netns-trace/netns-trace/pkg/probe"
)

// verdict is how one promise stands on one kernel.
type verdict struct {
	promise string
	figures string
	state   string // pass, fail or unknown
}

const (
	pass    = "PASS"
	fail    = "FAIL"
	unknown = "not judged"
)

// judge holds the figures against what docs/performance.md promises.
func judge(s figures) []verdict {
	j := &judgement{figures: s}
	csum, csumShare := only(probe.DetectorCsum), 0.04
	j.atMost("1. csum, a packet: at most 1.45 of the empty fentry pair", "udp", csum, emptyBest, 1.45)
	j.share("1. csum, a packet: at most 4 % of it", "udp", csum, csumShare)
	j.atMost("1. csum, a packet: at most 1/4.8 of bpftrace's fentry", "udp", csum, bpftraceCsumFentry, 1/4.8)
	j.atMost("1. csum, a packet: at most 1/7.5 of two ftrace histograms", "udp", csum, histograms, 1/7.5)
	j.atMost("1. csum by kprobe, a packet: at most 1/2.2 of bpftrace's kprobe", "udp", csumKprobe, bpftraceCsumKprobe, 1/2.2)
	clone := 1.6
	if s.kernel == "6.1" { // where an empty one costs less
		clone = 2.0
	}
	threads := only(probe.DetectorThreads)
	j.atMost(fmt.Sprintf("2. threads, a clone: at most %.1f of an empty tp_btf", clone), "clone", threads, emptyBest, clone)
	j.atMost("2. threads, a clone: at most 1/3 of bpftrace's", "clone", threads, bpftraceClone, 1.0/3)
	j.nothing("3. everything on, an unrelated system call: nothing", "getppid", everything)
	j.atMost("4. dst, a route made and freed: at most 5 of the empty fexit and fentry", "dst-life", only(detectorDst), emptyBest, 5)
	j.atMost("5. ledger, a reference: at most 1.7 of empty kprobes at the same places", "reference", ledgerJumps, emptySites, 1.7)
	j.share("6. everything on, references by search (--refs search), a namespace's and veth pair's life: less than 1 %", "life", everythingSearch, 0.01)
	j.gone("7. after the end: within 0.05 % of before, or 10 instructions")
	return j.verdicts
}

// detectorDst is named here for netns-traces that do not have it.
const detectorDst = "dst"

type judgement struct {
	figures  figures
	verdicts []verdict
}

func (j *judgement) add(promise string, kept bool, format string, args ...any) {
	state := fail
	if kept {
		state = pass
	}
	j.verdicts = append(j.verdicts, verdict{promise, fmt.Sprintf(format, args...), state})
}

func (j *judgement) notJudged(promise, why string) {
	j.verdicts = append(j.verdicts, verdict{promise, why, unknown})
}

func (j *judgement) find(promise, workload, variant string) (figure, bool) {
	f, ok := j.figures.find(workload, variant)
	if !ok {
		j.notJudged(promise, variant+" was not measured")
	}
	return f, ok
}

// atMost: what a variant adds is at most limit times what the other adds, measured or
// else recorded. It is not judged when the untraced operation differs by more than what
// is to be told.
func (j *judgement) atMost(promise, workload, variant, other string, limit float64) {
	f, ok := j.find(promise, workload, variant)
	if !ok {
		return
	}
	note := ""
	o, ok := j.figures.find(workload, other)
	base := o.added()
	if !ok {
		if base, ok = recorded(j.figures.kernel, other); !ok {
			j.notJudged(promise, other+" was not measured")
			return
		}
		note = " (recorded)"
	}
	if base < 1 {
		j.notJudged(promise, fmt.Sprintf("%s adds %.0f", other, base))
		return
	}
	figures := fmt.Sprintf("%.0f / %.0f%s = %.3f, limit %.3f", f.added(), base, note, f.added()/base, limit)
	doubt := math.Abs(f.after-f.before) + limit*math.Abs(o.after-o.before)
	if math.Abs(f.added()-limit*base) < doubt {
		j.notJudged(promise, fmt.Sprintf("%s, but untraced differs by %.0f", figures, doubt))
		return
	}
	j.add(promise, f.added() <= limit*base, "%s", figures)
}

// share: a variant adds at most that part of the untraced operation. It is not judged
// when the untraced operation itself is not known well enough.
func (j *judgement) share(promise, workload, variant string, limit float64) {
	f, ok := j.find(promise, workload, variant)
	if !ok {
		return
	}
	doubt := math.Abs(f.remains())
	figures := fmt.Sprintf("%.0f / %.0f = %.2f %%, limit %.2f %%", f.added(), f.untraced(), 100*f.share(), 100*limit)
	if math.Abs(f.share()-limit) < doubt {
		j.notJudged(promise, fmt.Sprintf("%s, but untraced differs by %.2f %%", figures, 100*doubt))
		return
	}
	j.add(promise, f.share() <= limit, "%s", figures)
}

// nothing: a variant adds not even one instruction.
func (j *judgement) nothing(promise, workload, variant string) {
	if f, ok := j.find(promise, workload, variant); ok {
		j.add(promise, math.Abs(f.added()) < 1, "%+.1f of %.0f", f.added(), f.untraced())
	}
}

// gone: when one of ours has ended, every exact workload costs what it did before.
func (j *judgement) gone(promise string) {
	var worst figure
	found := false
	for _, v := range variants() {
		for _, w := range workloads {
			f, ok := j.figures.find(w.name, v.name)
			if ok && v.ours && w.exact && (!found || f.remainsMoreThan(worst)) {
				worst, found = f, true
			}
		}
	}
	if !found {
		j.notJudged(promise, "nothing of ours was measured")
		return
	}
	j.add(promise, worst.settled(), "at worst %+.3f %% (%s, %s)", 100*worst.remains(), worst.variant, worst.workload)
}
