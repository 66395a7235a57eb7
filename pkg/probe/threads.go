// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// ThreadsOptions says whose threads are watched.
type ThreadsOptions struct {
	All       bool          // every process
	PIDs      []int         // processes by pid, in the initial pid namespace
	Comms     []string      // processes by name, also those that start later; at most MaxComms
	Follow    bool          // children of those too
	HomeInode uint32        // network namespace that is everybody's home; 0: the leader's
	Away      time.Duration // how long until a thread counts as left behind
}

// MaxComms is how many process names can be watched for.
const MaxComms = 8

const (
	commBytes  = 16   // TASK_COMM_LEN
	maxTallies = 1024 // MAX_TALLIES of bpf/threads_home.h
	mapMoves   = ".data.moves"
)

// The things that a budget may leave out.
const (
	thingMoves       = "threads changing network namespace"
	thingSockets     = "sockets made by stranded threads"
	thingConnections = "connections made by stranded threads"
)

var threadsPoints = []point{
	{
		thing: thingMoves, required: true,
		lost: "threads that go to another network namespace are not seen",
		ways: []Way{
			{Fentry, "switch_task_namespaces", []string{threadsProgSwitchFentry}},
			{Kprobe, "switch_task_namespaces", []string{threadsProgSwitchKprobe}},
		},
	},
	{
		thing: "threads being cloned", required: true,
		ways: []Way{
			{TPBTF, "task_newtask", []string{threadsProgCloneTpBtf}},
			{RawTP, "task_newtask", []string{threadsProgCloneRawTp}},
		},
	},
	{
		thing: "threads exiting", required: true,
		ways: []Way{
			{TPBTF, "sched_process_exit", []string{threadsProgExitTpBtf}},
			{RawTP, "sched_process_exit", []string{threadsProgExitRawTp}},
		},
	},
	{
		thing: "processes calling exec", required: true,
		ways: []Way{
			{TPBTF, "sched_process_exec", []string{threadsProgExecTpBtf}},
			{RawTP, "sched_process_exec", []string{threadsProgExecRawTp}},
		},
	},
	{
		thing: "threads stranded before tracing starts",
		lost:  "threads that were stranded before tracing started are not found",
		ways:  []Way{{Iter, "task", []string{threadsProgScanIter}}},
	},
	{
		thing: "threads that are away",
		lost:  "what threads did while records were lost is not found out",
		over:  threadsMapAway,
		ways:  []Way{{Iter, iterMapElem, []string{threadsProgAwayIter}}},
	},
	{
		thing: thingSockets,
		lost:  "what stranded threads do with socket() is not shown",
		ways: []Way{
			{Fexit, "__sys_socket", []string{threadsProgSocketFexit}},
			{Kretprobe, "__sys_socket", []string{threadsProgSocketKprobe, threadsProgSocketKretprobe}},
		},
	},
	{
		thing: thingConnections,
		lost:  "what stranded threads do with connect() is not shown",
		ways: []Way{
			{Fexit, "__sys_connect", []string{threadsProgConnectFexit}},
			{Kretprobe, "__sys_connect", []string{threadsProgConnectKprobe, threadsProgConnectKretprobe}},
		},
	},
}

func (o *ThreadsOptions) configure(spec *ebpf.CollectionSpec) error {
	if len(o.Comms) > MaxComms {
		return fmt.Errorf("%d process names to watch for, %d at most", len(o.Comms), MaxComms)
	}
	var comms [MaxComms][commBytes]byte
	for i, c := range o.Comms {
		// The kernel cuts a name to 15 bytes and a zero.
		copy(comms[i][:commBytes-1], c)
	}
	var homes [maxTallies]int32
	for _, pid := range o.PIDs {
		homes[pid%maxTallies]++
	}
	return setVariables(spec, map[string]any{
		threadsVarWatchAll:  o.All,
		threadsVarFollow:    o.Follow,
		threadsVarHomeInum:  o.HomeInode,
		threadsVarAwayNs:    uint64(o.Away),
		threadsVarCommCount: uint32(len(o.Comms)),
		threadsVarComms:     comms,
		threadsVarHomeTally: homes,
	})
}

// The values of the maps homes and away, as bpf/threads_home.h has them.
type (
	netnsID struct {
		Cookie uint64
		Inum   uint32
		_      uint32
	}
	threadID struct {
		TGID, TID uint32
		Start     uint64
		Comm      [16]byte
	}
	homeValue struct {
		Netns     netnsID
		MovedTo   netnsID
		Named     uint32
		Announced uint32
	}
	// awayLook is what the iterator writes: struct away_look of bpf/threads_told.h.
	awayLook struct {
		Home, Netns           netnsID
		Since                 uint64
		TGID, TID             uint32
		LeftBehind, LeftAlone uint32
	}
	awayValue struct {
		Netns                       netnsID
		Since                       uint64
		TGID                        uint32
		LeftBehind                  uint32
		LeftAlone                   uint32
		Told                        uint32
		Clones                      uint32
		_                           uint32
		Sockets, Connects, Failures uint64
		CallRecorded                uint64
		Visited                     uint64
	}
	// movesState is the section of bpf/threads_told.h.
	movesState struct {
		Moves   Moves
		_       uint32
		Scanned uint64
	}
)

func (t threadID) thread() record.Thread {
	return record.Thread{TGID: t.TGID, TID: t.TID, Start: t.Start, Comm: unix.ByteSliceToString(t.Comm[:])}
}

func (n netnsID) id() record.NetnsID { return record.NetnsID{Cookie: n.Cookie, Inode: n.Inum} }

// name puts the processes that the user chose into the kernel's table; their homes
// are filled in when they are first seen. The programs see their ends by now, so who
// looks afterwards whether a process is still the one that was meant can rely on it.
func (o *ThreadsOptions) name(homes *ebpf.Map) error {
	for _, pid := range o.PIDs {
		err := homes.Update(uint32(pid), homeValue{Named: 1}, ebpf.UpdateNoExist)
		if err != nil && !errors.Is(err, ebpf.ErrKeyExist) { // its name may be watched for too
			return fmt.Errorf("watching pid %d: %w", pid, err)
		}
	}
	return nil
}

// Unwatch forgets a process that the user named, because it is gone; its number
// may be another's next.
func (s *Session) Unwatch(pid int) error {
	err := s.objects[DetectorThreads].maps[threadsMapHomes].Delete(uint32(pid))
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("forgetting pid %d: %w", pid, err)
	}
	return nil
}

// AwayThreads reads the kernel's own list of the threads that are away from home, but for
// those that are alone in their process or, where moves are told late, have not been away
// for long. It is empty when the threads detector is not running, and nil when the kernel
// has no way to read the list.
func (s *Session) AwayThreads() (*record.AwayThreads, error) {
	out := &record.AwayThreads{Time: now()}
	o := s.objects[DetectorThreads]
	if o == nil {
		return out, nil
	}
	it := o.iterators[threadsProgAwayIter]
	if it == nil {
		return nil, nil
	}
	var look awayLook
	err := eachRow(it, binary.Size(look), func(raw []byte) error {
		if _, err := binary.Decode(raw, binary.NativeEndian, &look); err != nil {
			return err
		}
		out.Threads = append(out.Threads, record.AwayThread{
			TGID: look.TGID, TID: look.TID, Netns: look.Netns.id(), Home: look.Home.id(), Since: look.Since,
			LeftBehind: look.LeftBehind != 0, LeftAlone: look.LeftAlone != 0,
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the threads that are away: %w", err)
	}
	return out, nil
}

// Moves is how moves of threads from one network namespace to another are told.
type Moves uint32

// The ways to tell them, as bpf/threads_told.h has them.
const (
	// MovesTold: each when it is made, with its call traces.
	MovesTold Moves = iota
	// MovesLate: only once it matters, because something was cloned there, or because
	// the thread has been away for ThreadsOptions.Away; then by AwayThreads.
	MovesLate
	// MovesUnseen: not at all. There is no way back from it but another session.
	MovesUnseen
)

// TellMoves says how moves of threads are told from now on.
func (s *Session) TellMoves(how Moves) error {
	o := s.objects[DetectorThreads]
	if o == nil {
		return nil
	}
	if err := o.changeMoves(func(state *movesState) { state.Moves = how }); err != nil {
		return fmt.Errorf("changing how moves of threads are told: %w", err)
	}
	if how == MovesUnseen {
		o.leaveOut(thingMoves)
	}
	return nil
}

func (o *object) changeMoves(change func(*movesState)) error {
	m := o.maps[mapMoves]
	var state movesState
	if err := m.Lookup(uint32(0), &state); err != nil {
		return err
	}
	change(&state)
	return m.Put(uint32(0), state)
}

// LeaveOutCalls no longer looks at what stranded threads do, which is looked at in every
// socket() and connect() of the host. To see it again takes another session.
func (s *Session) LeaveOutCalls() {
	if o := s.objects[DetectorThreads]; o != nil {
		o.leaveOut(thingSockets, thingConnections)
	}
}

// ErrGone is returned for a process that has exited meanwhile.
var ErrGone = errors.New("the process has exited")

// HomeGiven reports whether one namespace is everybody's home, so that no home can be
// taken for another.
func (s *Session) HomeGiven() bool { return s.homeGiven }

// SetHome corrects where a process belongs: these of its threads, noted as away so far,
// are home. The error is ErrGone if there is nothing left to correct.
func (s *Session) SetHome(tgid uint32, home record.NetnsID, members ...uint32) error {
	o := s.objects[DetectorThreads]
	homes, away := o.maps[threadsMapHomes], o.maps[threadsMapAway]
	var h homeValue
	switch err := homes.Lookup(tgid, &h); {
	case errors.Is(err, ebpf.ErrKeyNotExist):
		return ErrGone
	case err != nil:
		return fmt.Errorf("reading the home of process %d: %w", tgid, err)
	}
	h.Netns = netnsID{Cookie: home.Cookie, Inum: home.Inode}
	switch err := homes.Update(tgid, h, ebpf.UpdateExist); {
	case errors.Is(err, ebpf.ErrKeyNotExist):
		return ErrGone
	case err != nil:
		return fmt.Errorf("correcting the home of process %d: %w", tgid, err)
	}
	for _, tid := range members {
		if err := away.Delete(tid); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("correcting where thread %d is: %w", tid, err)
		}
	}
	return nil
}

// SetAway notes that the leader of a process is away from home, as it was found.
func (s *Session) SetAway(leader uint32, netns record.NetnsID) error {
	entry := awayValue{
		Netns: netnsID{Cookie: netns.Cookie, Inum: netns.Inode}, Since: uint64(now()), TGID: leader, LeftBehind: 1, Told: 1,
	}
	away := s.objects[DetectorThreads].maps[threadsMapAway]
	if err := away.Update(leader, entry, ebpf.UpdateNoExist); err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
		return fmt.Errorf("correcting where thread %d is: %w", leader, err)
	}
	return nil
}
