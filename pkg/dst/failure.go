// SPDX-License-Identifier: Apache-2.0

package dst

import (
	"fmt"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

type failureKey struct {
	ops   uint64
	netns record.NetnsID
}

type failure struct {
	pace
	last   record.DstFailure
	traced bool // last has the thread and the stack of one
	waited bool
}

// The causes of a failure, in its details.
const (
	causeNoMemory  = "no memory"
	causeThreshold = "over threshold"
	causeUnknown   = "unknown"
)

func (d *Detector) failed(r *record.DstFailure, emit func(*finding.Finding)) {
	k := failureKey{r.Ops.Addr, r.Ops.Netns}
	f := d.failures[k]
	if f == nil {
		f = &failure{pace: pace{id: finding.NewID(finding.Dst, KindFailure, k, r.When())}}
		d.failures[k] = f
	}
	if f.told == 0 && r.Polled && !r.Final && !f.waited {
		// The count is there before the record that tells more of it.
		f.waited = true
		return
	}
	if state, due := f.due(r.When(), r.Count, r.Final); due {
		f.take(r)
		emit(d.reportFailure(f, state))
	}
}

// take keeps what is newest; a count that was read without them does not make the
// thread and the stack unknown.
func (f *failure) take(r *record.DstFailure) {
	thread, stacks := f.last.Thread, f.last.Stacks
	if !r.Polled {
		f.traced, thread, stacks = true, r.Thread, r.Stacks.Clone()
	}
	f.last = *r
	f.last.Thread, f.last.Stacks = thread, stacks
}

// causeOf is what the kernel's numbers allow to say. Memory that was not had leaves no
// trace of its own: it is the cause where no collector can have refused.
func causeOf(r *record.DstFailure) string {
	switch {
	case !r.MayRefuse:
		return causeNoMemory
	case !r.EntriesKnown || !r.LimitKnown:
		return causeUnknown
	// The collector is asked above the threshold, and refuses above the limit.
	case r.Entries > int64(r.Limit) && r.Entries > int64(r.Threshold):
		return causeThreshold
	}
	return causeNoMemory
}

func (d *Detector) reportFailure(of *failure, state finding.State) *finding.Finding {
	r := &of.last
	f := d.finding(KindFailure, of.id, state, r.When(), howFailure)
	f.Count = int64(r.Count)
	f.Netns = d.netns(r.Ops)
	f.Stack = d.known.Stack(0, r.Stacks.Kernel)
	cause := causeOf(r)
	f.Details["family"], f.Details["ops"], f.Details["cause"] = family(r.Ops.Family), r.Ops.Kind.String(), cause
	threshold := "no threshold"
	if r.Threshold > 0 {
		f.Details["gc_thresh"] = r.Threshold
		threshold = fmt.Sprint("gc_thresh ", r.Threshold)
	}
	if r.MayRefuse && r.LimitKnown {
		f.Details["max_size"] = r.Limit
		threshold += fmt.Sprint(", max_size ", r.Limit)
	}
	if r.EntriesKnown {
		f.Details["entries"] = r.Entries
		f.Facts = append(f.Facts, finding.Fact{Label: "counter", Text: entries(r.Entries) + ", " + threshold})
	}
	if r.Ifindex != 0 {
		f.Device = &finding.Device{Name: r.Name, Ifindex: r.Ifindex}
	}
	by := ""
	if of.traced {
		f.Process = d.known.Process(r.Thread)
		context := "process"
		by = fmt.Sprintf(" for %s (pid %d)", r.Thread.Comm, r.Thread.TGID)
		if finding.InSoftirq(f.Stack) {
			context = "softirq"
			by = ""
			f.Facts = append(f.Facts, finding.Fact{
				Label: "context", Text: "a soft interrupt, while the process above ran; it need not be its cause",
			})
		}
		f.Details["context"] = context
	}
	where := ""
	if f.Netns != nil {
		where = " in netns " + f.Netns.String()
	}
	f.Summary = fmt.Sprintf("dst_alloc failed%s%s: %s, %s, %d so far", where, by, r.Ops.Kind, cause, r.Count)
	return f
}
