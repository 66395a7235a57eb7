// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"fmt"

	"github.com/netns-trace/netns-trace/pkg/identity"
	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/userstack"
)

// Namer learns names for what a record mentions, while it can still be asked:
// namespaces, processes and code addresses. What it learns are records too.
type Namer struct {
	identity *identity.Namer
	symbols  func() *kernel.Symbols
	users    *userstack.Resolver
	rawAddrs bool

	told    map[uint32]record.NetnsName // last told of each namespace, by inode
	process map[uint32]record.ProcessName
	counted map[uint32]counted // by inode, which the next namespace gets again
	named   namedStacks
	asked   askedProcesses
}

// counted is how often the name of a namespace was asked for, for the sake of a counter.
type counted struct {
	netns record.NetnsID
	asked int
}

// toldMax bounds what is remembered of what was told; beyond it names are told
// again, which costs space in a recording and nothing else.
const toldMax = 16384

// NewNamer makes a namer. symbols may give nil: kernel addresses then have no
// names. With rawAddrs addresses are told beside the names.
func NewNamer(id *identity.Namer, symbols func() *kernel.Symbols, users *userstack.Resolver, rawAddrs bool) *Namer {
	return &Namer{
		identity: id, symbols: symbols, users: users, rawAddrs: rawAddrs,
		told: make(map[uint32]record.NetnsName), process: make(map[uint32]record.ProcessName),
		counted: make(map[uint32]counted), named: newNamedStacks(), asked: make(askedProcesses),
	}
}

// Names returns records of what is newly known of the things that rec mentions.
func (n *Namer) Names(rec record.Record) []record.Record {
	var out []record.Record
	switch r := rec.(type) {
	case *record.NetnsSwitch:
		// A switch of a healthy daemon is followed by many more. Its stack is named
		// all the same: when the thread does not return, its program may be gone.
		out = append(n.netns(r.Home, int(r.Thread.TGID)), n.netns(r.To)...)
		out = append(out, n.processName(r.Thread)...)
		out = append(out, n.stacks(r.Thread.TGID, &r.Stacks)...)
	case *record.ThreadClone:
		out = append(n.netns(r.Home, int(r.Child.TGID)), n.netns(r.Away, int(r.Child.TID))...)
		out = append(out, n.processName(r.Child)...)
		out = append(out, n.stacks(r.Child.TGID, &r.Stacks)...)
	case *record.ThreadSeen:
		out = append(n.netns(r.Home, int(r.Thread.TGID)), n.netns(r.Netns, int(r.Thread.TID))...)
		out = append(out, n.processName(r.Thread)...)
	case *record.StrandedCall:
		out = n.netns(r.Netns, int(r.Thread.TID))
	case *record.DevWait:
		out = n.netns(r.Netns)
	case *record.Holder:
		out = append(n.processName(r.Thread), n.stacks(r.Thread.TGID, &r.Stacks)...)
	case *record.RefLedger:
		out = n.refLedger(r)
	case *record.RefTracker:
		out = n.refLedger(&r.Ledger)
	case *record.HeldObject:
		for _, s := range r.Sockets {
			out = append(out, n.netns(s.Netns)...)
			for _, owner := range s.Owners {
				out = append(out, n.processName(owner.Thread)...)
			}
		}
	case *record.HolderSearch:
		out = n.netns(r.Netns)
	case *record.NetnsBirth:
		n.born(r)
	case *record.Process:
		if r.Event == record.ProcessExec {
			n.named.forget()
		}
	case *record.ModuleLoad:
		n.named.forget()
	case *record.CsumRewrite:
		out = append(n.netns(r.Netns), n.netns(r.PeerNetns)...)
	case *record.CsumCorrupt:
		out = append(n.netns(r.Netns), n.netns(r.PeerNetns)...)
	case *record.DstFailure:
		out = append(n.netns(r.Ops.Netns, int(r.Thread.TGID)), n.processName(r.Thread)...)
		out = append(out, n.stacks(r.Thread.TGID, &r.Stacks)...)
	case *record.DstCrossing:
		out = append(n.netns(r.From.Netns), n.netns(r.To.Netns)...)
	case *record.DstCounter:
		out = n.dstCounter(r)
	case *record.AwayThreads:
		out = n.awayThreads(r)
	}
	return out
}

// dstCounter asks for the name of a counter's namespace a few times only: counters
// come every second, most are never spoken of, and a name that nobody knows costs a
// walk through /proc.
func (n *Namer) dstCounter(r *record.DstCounter) []record.Record {
	const enough = 4
	full := r.HasGC && 2*r.Entries >= int64(r.Threshold)
	before := n.counted[r.Ops.Netns.Inode]
	if !before.netns.Same(r.Ops.Netns) {
		before = counted{netns: r.Ops.Netns}
	}
	if before.asked >= enough && !full {
		return nil
	}
	if len(n.counted) >= toldMax {
		clear(n.counted)
	}
	before.asked++
	n.counted[r.Ops.Netns.Inode] = before
	return n.netns(r.Ops.Netns)
}

// awayThreads also fills in the names of the processes, which the kernel's list
// does not have.
func (n *Namer) awayThreads(r *record.AwayThreads) []record.Record {
	var out []record.Record
	comms := make(map[uint32]string)
	for i := range r.Threads {
		t := &r.Threads[i]
		out = append(out, n.netns(t.Home, int(t.TGID))...)
		out = append(out, n.netns(t.Netns, int(t.TID))...)
		comm, asked := comms[t.TGID]
		if !asked {
			if p, err := n.identity.Process(int(t.TGID)); err == nil {
				comm = p.Comm
			}
			comms[t.TGID] = comm
		}
		t.Comm = comm
	}
	return out
}

func (n *Namer) netns(id record.NetnsID, hints ...int) []record.Record {
	if id.Inode == 0 {
		return nil
	}
	if id.Inode == n.identity.Host() {
		return n.tell(id, identity.Netns{Name: identity.FromHost})
	}
	known, _ := n.identity.Netns(id.Inode, hints...)
	return n.tell(id, known)
}

// born forgets what an earlier namespace of that number was called.
func (n *Namer) born(r *record.NetnsBirth) {
	delete(n.told, r.Netns.Inode)
	delete(n.counted, r.Netns.Inode)
	n.identity.Born(r.Netns.Inode)
}

// learn looks for the name of a young namespace.
func (n *Namer) learn(b birth) []record.Record {
	known, _ := n.identity.Learn(b.netns.Inode, b.maker)
	return n.tell(b.netns, known)
}

// tell makes a record of a name that is new.
func (n *Namer) tell(id record.NetnsID, known identity.Netns) []record.Record {
	name := record.NetnsName{
		Time: record.Time(probe.Now()), Netns: id,
		Name: known.Name, Container: known.Container.ID, ContainerName: known.Container.Name,
	}
	before, seen := n.told[id.Inode]
	same := seen && before.Netns.Same(id) && before.Name == name.Name &&
		before.Container == name.Container && before.ContainerName == name.ContainerName
	if same || (name.Name == "" && name.Container == "") {
		return nil
	}
	if len(n.told) >= toldMax {
		clear(n.told)
	}
	n.told[id.Inode] = name
	return []record.Record{&name}
}

func (n *Namer) processName(t record.Thread) []record.Record {
	if n.asked.enough(t.TGID, record.Time(probe.Now())) {
		return nil
	}
	p, err := n.identity.Process(int(t.TGID))
	if err != nil { // it is gone, or not ours to read: it stays without a container
		return nil
	}
	if t.Start != 0 && p.StartTicks*tick > t.Start {
		return nil // another process, of the same number
	}
	name := record.ProcessName{
		Time: record.Time(probe.Now()), TGID: t.TGID,
		Container: p.Container.ID, ContainerName: p.Container.Name,
	}
	before, seen := n.process[t.TGID]
	if name.Container == "" && !seen {
		return nil
	}
	if seen && before.Container == name.Container && before.ContainerName == name.ContainerName {
		return nil
	}
	if len(n.process) >= toldMax {
		clear(n.process)
	}
	n.process[t.TGID] = name
	return []record.Record{&name}
}

func (n *Namer) stacks(tgid uint32, s *record.Stacks) []record.Record {
	var out []record.Record
	at := record.Time(probe.Now())
	if n.named.again(tgid, s, at) {
		return nil
	}
	for _, pc := range s.Kernel {
		out = append(out, &record.Symbol{Time: at, Addr: pc, Text: n.kernelFrame(pc)})
	}
	if len(s.User) == 0 {
		return out
	}
	for i, f := range n.users.Resolve(int(tgid), s.User) {
		out = append(out, &record.Symbol{Time: at, TGID: tgid, Addr: s.User[i], Text: n.userFrame(s.User[i], f)})
	}
	return out
}

// kernelFrame names a return address. Without a name, or without the user's wish
// for raw ones, an address is not shown: it would tell where the kernel lies.
func (n *Namer) kernelFrame(pc uint64) string {
	text := "?"
	if symbols := n.symbols(); symbols != nil {
		if f, ok := symbols.Resolve(pc); ok {
			text = f.String()
		}
	}
	if n.rawAddrs {
		text += fmt.Sprintf(" 0x%x", pc)
	}
	return text
}

func (n *Namer) userFrame(pc uint64, f userstack.Frame) string {
	text := f.String()
	if n.rawAddrs {
		text += fmt.Sprintf(" 0x%x", pc)
	}
	return text
}
