// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// refLedger names what a ledger speaks of, and tells what has become of the threads
// that took references.
func (n *Namer) refLedger(r *record.RefLedger) []record.Record {
	out := n.netns(r.Netns)
	asked := make(map[uint32]bool)
	for i := range r.Sites {
		s := &r.Sites[i]
		for j := range s.Traces {
			t := &s.Traces[j]
			out = append(out, n.stacks(0, &record.Stacks{Kernel: t.Kernel})...)
			if who := t.FirstThread; !s.Put && who.TGID != 0 && !asked[who.TGID] {
				asked[who.TGID] = true
				out = append(out, n.processName(who)...)
				out = append(out, n.threadState(who))
			}
		}
	}
	return out
}

// threadState says whether a thread's process is still there, and which sockets it has.
func (n *Namer) threadState(t record.Thread) *record.ThreadState {
	state := &record.ThreadState{Time: record.Time(probe.Now()), Thread: t}
	p, err := n.identity.Process(int(t.TGID))
	if err != nil || t.Start != 0 && t.TID == t.TGID && p.StartTicks*tick > t.Start {
		return state // gone, or another of the same number
	}
	state.Alive = true
	for _, s := range n.identity.ProcessSockets(int(t.TGID)) {
		state.Sockets = append(state.Sockets, record.OpenSocket{FD: s.FD, Inode: s.Inode, Protocol: s.Protocol})
	}
	return state
}
