// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/netns-trace/netns-trace/pkg/probe"
)

// kept has figures with which every promise is kept, just so.
func kept() figures {
	return figures{kernel: "6.12", list: []figure{
		{"udp", emptyBest, 10000, 10000, 10260},
		{"udp", only(probe.DetectorCsum), 10000, 10000, 10370},
		{"udp", csumKprobe, 10000, 10000, 11000},
		{"udp", histograms, 10000, 10000, 12884},
		{"udp", bpftraceCsumFentry, 10000, 10000, 11798},
		{"udp", bpftraceCsumKprobe, 10000, 10000, 12332},
		{"clone", emptyBest, 23000, 23000, 23090},
		{"clone", only(probe.DetectorThreads), 23000, 23000, 23140},
		{"clone", bpftraceClone, 23000, 23000, 23460},
		{"getppid", everything, 336, 336, 336},
		{"dst-life", emptyBest, 18000, 18000, 18330},
		{"dst-life", only(detectorDst), 18000, 18000, 19650},
		{"life", everythingSearch, 3200000, 3203000, 3225000},
	}}
}

// with returns the figures with one of them changed, or added.
func (s figures) with(f figure) figures {
	out := figures{kernel: s.kernel}
	for _, old := range s.list {
		if old.workload != f.workload || old.variant != f.variant {
			out.list = append(out.list, old)
		}
	}
	out.list = append(out.list, f)
	return out
}

func failures(s figures) []string {
	var out []string
	for _, v := range judge(s) {
		if v.state == fail {
			number, _, _ := strings.Cut(v.promise, ".")
			out = append(out, number)
		}
	}
	return out
}

func TestJudge(t *testing.T) {
	csum, threads := only(probe.DetectorCsum), only(probe.DetectorThreads)
	older := kept()
	older.kernel = "6.1"
	for name, test := range map[string]struct {
		figures figures
		broken  string // numbers of the promises
	}{
		"all kept": {kept(), ""},
		"csum costs twice an empty pair, and so more than a part of the others": {
			kept().with(figure{"udp", csum, 10000, 10000, 10520}), "1 1 1 1",
		},
		"csum by kprobe":                   {kept().with(figure{"udp", csumKprobe, 10000, 10000, 11070}), "1"},
		"a clone costs twice an empty one": {kept().with(figure{"clone", threads, 23000, 23000, 23180}), "2 2"},
		"6.1 allows nearly that":           {older.with(figure{"clone", threads, 23000, 23000, 23153}), ""},
		"one more instruction in a system call that is nobody's business": {
			kept().with(figure{"getppid", everything, 336, 336, 337}), "3",
		},
		"a route":                    {kept().with(figure{"dst-life", only(detectorDst), 18000, 18000, 19651}), "4"},
		"a life costs one in ninety": {kept().with(figure{"life", everythingSearch, 3200000, 3200000, 3235600}), "6"},
		"a program stays attached":   {kept().with(figure{"udp", csum, 10000, 10080, 10407}), "7"},
		"an untraced packet wanders": {kept().with(figure{"udp", csum, 10000, 10006, 10370}), ""},
		"a life is never the same twice: nothing remains": {
			kept().with(figure{"life", everythingSearch, 3200000, 3195000, 3200000}), "",
		},
	} {
		if got := strings.Join(failures(test.figures), " "); got != test.broken {
			t.Errorf("%s: broken %q, want %q: %+v", name, got, test.broken, judge(test.figures))
		}
	}
}

func TestOtherToolsMayBeRecorded(t *testing.T) {
	short := figures{kernel: "6.12"}
	for _, f := range kept().list {
		if !strings.Contains(f.variant, "bpftrace") && f.variant != histograms {
			short.list = append(short.list, f)
		}
	}
	noted := 0
	for _, v := range judge(short) {
		if v.state == fail {
			t.Errorf("broken: %+v", v)
		}
		if strings.Contains(v.figures, "(recorded)") {
			noted++
		}
	}
	if noted != 4 {
		t.Errorf("%d verdicts say that they rest on recorded figures, want 4", noted)
	}
}

func TestWhatWasNotMeasuredIsNotJudged(t *testing.T) {
	for _, v := range judge(figures{kernel: "6.12"}) {
		if v.state != unknown {
			t.Errorf("judged without a figure: %+v", v)
		}
	}
}

// A floor of less than nothing is a failed measurement, not a broken promise.
func TestRatioToNothingIsNotJudged(t *testing.T) {
	s := kept().with(figure{"clone", bpftraceClone, 23377, 15903, 16438})
	for _, v := range judge(s) {
		if strings.Contains(v.figures, bpftraceClone) && v.state == unknown {
			return
		}
	}
	t.Errorf("judged: %+v", judge(s))
}

// A life that takes 2 % more or less by itself says nothing about 1 %.
func TestDoubtIsNotJudged(t *testing.T) {
	s := kept().with(figure{"life", everythingSearch, 3200000, 3264000, 3275000})
	for _, v := range judge(s) {
		if strings.HasPrefix(v.promise, "6") && v.state == unknown && strings.Contains(v.figures, "untraced differs by 2.00 %") {
			return
		}
	}
	t.Errorf("judged: %+v", judge(s))
}

// From some moment on each clone was 4,500 instructions cheaper, in the middle of a
// measurement: 4,448 less than nothing is no promise kept, and 2,300 more is none broken.
func TestAKernelThatChangesMeanwhileIsNotJudged(t *testing.T) {
	threads := only(probe.DetectorThreads)
	for _, f := range []figure{
		{"clone", threads, 18700, 14250, 14362},
		{"clone", threads, 18700, 14250, 18812},
	} {
		for _, v := range judge(kept().with(f)) {
			if strings.HasPrefix(v.promise, "2.") && v.state != unknown {
				t.Errorf("judged: %+v", v)
			}
		}
	}
}

func TestVariantsAreWhole(t *testing.T) {
	names := map[string]bool{}
	known := map[string]bool{}
	for _, w := range workloads {
		known[w.name] = true
	}
	for _, v := range variants() {
		if names[v.name] {
			t.Errorf("two variants are called %q", v.name)
		}
		names[v.name] = true
		for _, w := range v.on {
			if !known[w] {
				t.Errorf("%s is measured on %q, which is no workload", v.name, w)
			}
		}
		if v.floor != "" && !names[v.floor] {
			t.Errorf("%s is compared with %q, which is not measured before it", v.name, v.floor)
		}
	}
	for _, name := range shortVariants {
		if !names[name] {
			t.Errorf("-short wants %q, which there is not", name)
		}
	}
	for _, name := range shortWorkloads {
		if !known[name] {
			t.Errorf("-short wants %q, which there is not", name)
		}
	}
}
