// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"context"
	"fmt"

	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// PinsLook looks at what keeps network namespaces alive.
type PinsLook struct {
	Pins  *probe.Pins
	Namer *Namer
	// Only and Skip are as they were for the programs; see probe.PinsOptions.
	Only, Skip uint32
	Feed       func(rec record.Record)

	hints map[uint32][]int // threads in each namespace, by inode
	lives map[resident]bool
	named map[uint32]bool // processes that were asked for their names
}

// resident is a process that has its first thread in a namespace.
type resident struct{ pid, inode uint32 }

// hintsMost is how many threads of a namespace its name is looked for at.
const hintsMost = 4

// Run feeds all that is to be seen now, twice, in the order that record.NetnsLook says.
func (l *PinsLook) Run(ctx context.Context) error {
	for _, again := range []bool{false, true} {
		if err := l.once(ctx, again); err != nil {
			return err
		}
	}
	return nil
}

func (l *PinsLook) once(ctx context.Context, again bool) error {
	l.hints, l.lives, l.named = make(map[uint32][]int), make(map[resident]bool), make(map[uint32]bool)
	l.Feed(&record.NetnsLook{Time: record.Time(probe.Now()), Again: again, Only: l.Only, Skip: l.Skip})
	if err := l.Pins.Tasks(l.task); err != nil {
		return err
	}
	if err := l.Pins.Files(l.file); err != nil {
		return err
	}
	unseen := l.Pins.Plan().Lost()
	more, err := l.mounts(ctx)
	if err != nil {
		return err
	}
	if err := l.Pins.Namespaces(l.namespace); err != nil {
		more = append(more, err.Error())
	}
	l.Feed(&record.NetnsLooked{Time: record.Time(probe.Now()), Unseen: append(unseen, more...)})
	return ctx.Err()
}

func (l *PinsLook) task(rec record.Record) {
	r, ok := rec.(*record.NetnsTask)
	if !ok {
		return
	}
	inode := r.Netns.Inode
	if hints := l.hints[inode]; len(hints) < hintsMost {
		l.hints[inode] = append(hints, int(r.Thread.TID))
	}
	if r.Leader == inode {
		l.lives[resident{r.Thread.TGID, inode}] = true
	} else {
		l.process(r.Thread)
	}
	l.Feed(r)
}

func (l *PinsLook) file(rec record.Record) {
	r, ok := rec.(*record.NetnsFile)
	if !ok {
		return
	}
	if !l.lives[resident{r.Thread.TGID, r.Netns.Inode}] {
		l.process(r.Thread)
	}
	l.Feed(r)
}

// process feeds the names of a process that may be one to act on, once.
func (l *PinsLook) process(t record.Thread) {
	if l.named[t.TGID] {
		return
	}
	l.named[t.TGID] = true
	for _, name := range l.Namer.processName(t) {
		l.Feed(name)
	}
}

func (l *PinsLook) mounts(ctx context.Context) (unseen []string, err error) {
	found, err := l.Namer.identity.NetnsMounts(ctx)
	if err != nil {
		return nil, err
	}
	comms := make(map[int]string)
	for _, m := range found.Mounts {
		comm, asked := comms[m.PID]
		if !asked {
			if p, err := l.Namer.identity.Process(m.PID); err == nil {
				comm = p.Comm
			}
			comms[m.PID] = comm
		}
		l.Feed(&record.NetnsMount{
			Time: record.Time(probe.Now()), Inode: m.Inode, MountNS: m.MountNS, Initial: m.Initial,
			PID: uint32(m.PID), Comm: comm, Path: m.Path,
		})
	}
	if found.Refused > 0 {
		unseen = append(unseen, fmt.Sprintf("the mounts of %d threads could not be read", found.Refused))
	}
	if found.Cut {
		unseen = append(unseen, "there were more mounts than are remembered")
	}
	return unseen, nil
}

func (l *PinsLook) namespace(rec record.Record) {
	if r, ok := rec.(*record.NetnsAlive); ok {
		for _, name := range l.Namer.netns(r.Netns, l.hints[r.Netns.Inode]...) {
			l.Feed(name)
		}
	}
	l.Feed(rec)
}
