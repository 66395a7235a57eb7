// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// Knowledge is what is known beside the events themselves, all of it learnt from
// records: names, the calendar, what was lost, and how things are seen. Detectors
// word their findings with it.
type Knowledge struct {
	Names record.Names
	clock record.Clock
	lost  map[Class]map[string]record.Loss
	setup record.Setup
	zone  *time.Location
}

// Observe learns from rec, and reports whether that is all that rec is for: then no
// detector needs to see it. Such a record's time says when something was learnt,
// not that all before it has been taken in.
func (k *Knowledge) Observe(rec record.Record) bool {
	switch r := rec.(type) {
	case *record.Clock:
		k.clock = *r
	case *record.Setup:
		k.setup = *r
	case *record.Loss:
		k.lose(r)
	default:
		return k.Names.Observe(rec)
	}
	return true
}

func (k *Knowledge) lose(l *record.Loss) {
	if l.Count == 0 {
		return
	}
	c := Class(l.Detector)
	if k.lost == nil {
		k.lost = make(map[Class]map[string]record.Loss)
	}
	if k.lost[c] == nil {
		k.lost[c] = make(map[string]record.Loss)
	}
	k.lost[c][l.Cause] = *l
}

// At is the calendar time of a record's time (ns of CLOCK_MONOTONIC).
func (k *Knowledge) At(monotonic uint64) time.Time {
	return time.Unix(0, k.clock.Realtime+int64(monotonic)-int64(k.clock.Time)).UTC()
}

// SetZone sets the time zone of what is worded for people: that of the machine where
// it happened. Without it that is this machine's.
func (k *Knowledge) SetZone(zone *time.Location) { k.zone = zone }

// WallClock words a time of day.
func (k *Knowledge) WallClock(t time.Time) string {
	zone := k.zone
	if zone == nil {
		zone = time.Local
	}
	return t.In(zone).Format("15:04:05.000")
}

// References is how many references a net_device's count stands for: the count of
// a device that nobody holds is not 0 on every kernel. It is not ok when it is
// not known where this kernel counts from.
func (k *Knowledge) References(refcount int32) (n int64, ok bool) {
	return int64(refcount) - int64(k.setup.RefcountBase), k.setup.RefcountBaseKnown
}

// SeesFree reports whether the freeing of a device is seen on this kernel.
func (k *Knowledge) SeesFree() bool { return k.setup.SeesFree }

// ScansHolders reports whether a record.HolderScan follows the first sight of a
// device that waits.
func (k *Knowledge) ScansHolders() bool { return k.setup.ScansHolders }

// HoldersByKprobe reports whether some holders are seen by kprobes.
func (k *Knowledge) HoldersByKprobe() bool { return k.setup.HoldersByKprobe }

// SearchesMemory reports whether the kernel's memory is searched for what holds a device
// that has waited.
func (k *Knowledge) SearchesMemory() bool { return k.setup.SearchesMemory }

// DstExact reports whether a ledger of dst entries can be trusted, or is known when
// not to be.
func (k *Knowledge) DstExact() bool { return k.setup.DstExact }

// HoldersOneIn is of how many objects that hold devices one is followed; 1: all are.
func (k *Knowledge) HoldersOneIn() uint32 { return max(1, k.setup.HoldersOneIn) }

// Netns words a namespace.
func (k *Knowledge) Netns(id record.NetnsID) *Netns {
	n := k.Names.Netns(id)
	return &Netns{
		Inode: id.Inode, Cookie: id.Cookie,
		Name: n.Name, Container: n.Container, ContainerName: n.ContainerName,
	}
}

// Process words a thread and its process.
func (k *Knowledge) Process(t record.Thread) *Process {
	n := k.Names.Process(t.TGID)
	p := &Process{
		PID: t.TGID, TID: t.TID, Comm: t.Comm,
		Container: n.Container, ContainerName: n.ContainerName,
	}
	if t.Start != 0 {
		boot := k.clock.Realtime - int64(k.clock.Boottime)
		p.Start = time.Unix(0, boot+int64(t.Start)).UTC()
	}
	return p
}

// Stack names the addresses of a stack; tgid 0 is the kernel. An address whose
// name is not known is "?", never a number: it would tell where the kernel lies.
// The innermost frames are the tracer's own program and what called it, and are
// left out. A frame that comes a third time in a row ends the stack: a user program
// without frame pointers leads the kernel round in a circle.
func (k *Knowledge) Stack(tgid uint32, pcs []uint64) []string {
	var frames []string
	for i, pc := range pcs {
		if i > 1 && tgid != 0 && pc == pcs[i-1] && pc == pcs[i-2] {
			break
		}
		text := k.Names.Symbol(tgid, pc)
		if text == "" {
			text = "?"
		}
		if len(frames) == 0 && tgid == 0 && isTracing(text) {
			continue
		}
		frames = append(frames, text)
	}
	return frames
}

// InSoftirq reports whether a kernel stack is that of a soft interrupt: the process
// of its time is then the one that was interrupted, and need not be its cause.
func InSoftirq(stack []string) bool {
	return slices.ContainsFunc(stack, func(frame string) bool { return strings.Contains(frame, "softirq") })
}

// isTracing tells the frames that lie between a traced place in the kernel and
// this tool's program.
func isTracing(frame string) bool {
	for _, own := range []string{"?", "bpf_prog_", "bpf_trampoline_", "bpf_trace_run", "__bpf_trace_", "__traceiter_"} {
		if strings.HasPrefix(frame, own) {
			return true
		}
	}
	return false
}

// Evidence says what a finding of the class rests on. how names the probes.
func (k *Knowledge) Evidence(c Class, how string) Evidence {
	e := Evidence{Complete: true, How: how}
	for cause, l := range k.lost[c] {
		if e.Lost == nil {
			e.Lost = make(map[string]int64)
		}
		e.Lost[cause] = int64(l.Count)
		e.Complete = e.Complete && l.DetailOnly
	}
	return e
}

// String is the namespace as people call it, with its inode number.
func (n *Netns) String() string {
	switch {
	case n.ContainerName != "":
		return fmt.Sprintf("%s (%d)", n.ContainerName, n.Inode)
	case n.Name != "":
		return fmt.Sprintf("%s (%d)", n.Name, n.Inode)
	case n.Container != "":
		return fmt.Sprintf("container %.12s (%d)", n.Container, n.Inode)
	}
	return fmt.Sprintf("%d", n.Inode)
}

// NewID makes the id of an incident from what identifies it: the same parts give
// the same id, so that a replay names an incident as the live run did.
func NewID(c Class, parts ...any) string {
	h := fnv.New64a()
	fmt.Fprintln(h, c)
	fmt.Fprintln(h, parts...)
	return fmt.Sprintf("%s-%012x", c, h.Sum64()&(1<<48-1))
}
