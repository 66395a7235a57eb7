// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// figure is what one variant was measured to cost on one workload, in executed
// instructions per operation.
type figure struct {
	workload, variant string
	before, after     float64 // untraced, just before and just after
	traced            float64
}

// untraced is what the operation costs when nothing is attached.
func (f figure) untraced() float64 { return (f.before + f.after) / 2 }

// added is what tracing adds.
func (f figure) added() float64 { return f.traced - f.untraced() }

// share is what tracing adds, as a part of the untraced operation.
func (f figure) share() float64 { return f.added() / f.untraced() }

// remains is what is left when tracing has ended, as a part of the untraced operation;
// negative when it is less than before.
func (f figure) remains() float64 { return (f.after - f.before) / f.before }

// remainsLimit is promise 7, but for how it wanders: a packet untraced takes up to 6 instructions
// more or less than a moment ago. The least that a probe left behind costs is 80.
const (
	remainsLimit = 0.0005
	wander       = 10
)

// settled reports whether an exact workload was the same before and after.
func (f figure) settled() bool {
	return math.Abs(f.after-f.before) <= max(remainsLimit*f.before, wander)
}

// remainsMoreThan compares what two have left behind.
func (f figure) remainsMoreThan(other figure) bool {
	if f.settled() != other.settled() {
		return !f.settled()
	}
	return math.Abs(f.remains()) > math.Abs(other.remains())
}

// figures are those of one boot of one kernel.
type figures struct {
	kernel  string // such as 6.12
	release string
	list    []figure
}

func (s figures) find(workload, variant string) (figure, bool) {
	i := indexOf(s.list, workload, variant)
	if i < 0 {
		return figure{}, false
	}
	return s.list[i], true
}

func indexOf(list []figure, workload, variant string) int {
	return slices.IndexFunc(list, func(f figure) bool { return f.workload == workload && f.variant == variant })
}

// ratio divides what two variants add to a workload; ok is false unless both were
// measured and the second adds something.
func (s figures) ratio(workload, variant, to string) (ratio float64, ok bool) {
	a, okA := s.find(workload, variant)
	b, okB := s.find(workload, to)
	if !okA || !okB || b.added() < 1 {
		return 0, false
	}
	return a.added() / b.added(), true
}

var errOutput = errors.New("the workload printed something else than its windows")

// perOperation reads the output of ops: a line "ops N", then a line for each window
// of N operations, with its instructions. It returns those of one operation in the
// median window, or in the one of another quantile.
func perOperation(output string, q float64) (float64, error) {
	lines := strings.Fields(output)
	if len(lines) < 3 || lines[0] != "ops" {
		return 0, errOutput
	}
	ops, err := strconv.ParseUint(lines[1], 10, 32)
	if err != nil || ops == 0 {
		return 0, fmt.Errorf("%w: %q operations", errOutput, lines[1])
	}
	var windows []float64
	for _, line := range lines[2:] {
		n, err := strconv.ParseUint(line, 10, 63)
		if err != nil {
			return 0, fmt.Errorf("%w: %q", errOutput, line)
		}
		windows = append(windows, float64(n))
	}
	return quantile(windows, q) / float64(ops), nil
}

// median is the value in the middle, or NaN of nothing.
func median(values []float64) float64 { return quantile(values, 0.5) }

// quantile is the value that the part q of them is below, between two of them in
// proportion; NaN of nothing.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i == len(sorted)-1 {
		return sorted[i]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}
