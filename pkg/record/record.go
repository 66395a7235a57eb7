// SPDX-License-Identifier: Apache-2.0

// Package record has the small typed records that everything netns-trace knows
// arrives as: what BPF programs put in the ring buffer (headers/record.h), and
// what user space learns beside it: names, symbols, losses and the passing of
// time. Detectors see records and nothing else, so that what they say of a live
// kernel and of a recording is the same.
package record

import (
	"net/netip"
	"slices"
)

// Record is one of the types of this package, always by pointer. A record from
// a Decoder is valid until the Decoder's next call.
type Record interface {
	// When is the time of the record in ns of CLOCK_MONOTONIC.
	When() uint64
}

// Time is when a record was made, in ns of CLOCK_MONOTONIC; it is embedded in
// every record.
type Time uint64

// When implements Record.
func (t Time) When() uint64 { return uint64(t) }

// NetnsID identifies a network namespace. Inode numbers are reused after a
// namespace's death, cookies are not; before Linux 5.12 the cookie is mostly 0.
type NetnsID struct {
	Cookie uint64
	Inode  uint32
}

// Same reports whether both ids are of one namespace, as far as they tell: an id
// without a cookie is compared by inode number alone.
func (n NetnsID) Same(o NetnsID) bool {
	return n.Inode == o.Inode && (n.Cookie == o.Cookie || n.Cookie == 0 || o.Cookie == 0)
}

// Thread identifies a thread by the numbers of the initial pid namespace.
type Thread struct {
	TGID, TID uint32
	Start     uint64 // ns of CLOCK_BOOTTIME; pids are reused, a pid with its start is not
	Comm      string
}

// Stacks are the return addresses of a thread, innermost first. Where the kernel
// could not give a stack, its slice is empty and Err has the errno.
type Stacks struct {
	Kernel, User       []uint64
	KernelErr, UserErr int32
}

// NetnsSwitch is a thread changing its network namespace, by setns(2) or
// unshare(2). Source: switch_task_namespaces().
type NetnsSwitch struct {
	Time
	Thread         Thread
	Home, From, To NetnsID
	Threads        uint32 // threads of the process
	Clones         uint32 // threads cloned in the window that this switch ends
	Stacks         Stacks // taken when leaving home
}

// ThreadClone is a thread being cloned while its parent is away from home.
// Source: task_newtask, which runs in the parent.
type ThreadClone struct {
	Time
	Parent, Child Thread
	Home, Away    NetnsID
	LeftHome      uint64 // ns of CLOCK_MONOTONIC; 0: the parent's leaving was not seen
	Threads       uint32 // threads of the process before this one
	LeftAlone     bool   // the process had a single thread when it left home
	Stacks        Stacks
}

// ThreadExit is the end of a thread that was away from home, with the totals of
// what it did there (see StrandedCall).
type ThreadExit struct {
	Time
	Thread                      Thread
	Netns                       NetnsID
	Sockets, Connects, Failures uint64
}

// ThreadSeen is a thread found away from home when tracing started.
type ThreadSeen struct {
	Time
	Thread      Thread
	Home, Netns NetnsID
	Threads     uint32
}

// ProcessEvent says what happened to a process under watch.
type ProcessEvent uint8

// What can happen to a process.
const (
	ProcessSeen ProcessEvent = iota // it came under watch
	ProcessExec                     // it became another program: its threads are gone
	ProcessExit                     // its last thread exited
)

// Process is a watched process coming, changing its program, or going.
type Process struct {
	Time
	Event   ProcessEvent
	Leader  Thread
	Home    NetnsID
	Threads uint32
	Named   bool // chosen by the user, not merely one of all processes
}

// Call is a system call that a stranded thread made.
type Call uint32

// The calls that are watched.
const (
	CallSocket  Call = 1
	CallConnect Call = 2
)

// StrandedCall is socket(2) or connect(2) by a thread that was left behind in a
// strange namespace. Its totals include calls that no record was made for.
type StrandedCall struct {
	Time
	Thread                      Thread
	Netns                       NetnsID
	Call                        Call
	Result                      int32 // 0 or more, or -errno
	Sockets, Connects, Failures uint64
	Family, Type, Protocol      uint32 // of socket(2)
	Address                     []byte // struct sockaddr given to connect(2), at most 32 bytes
}

// NetnsBirth is a network namespace that was made: names learnt before for its inode
// number are those of another. Source: setup_net.
type NetnsBirth struct {
	Time
	Netns  NetnsID
	Thread Thread // that made it
}

// ModuleLoad is a kernel module that is about to become live.
type ModuleLoad struct {
	Time
	Name string
}

// Clock ties the clocks of the records to the calendar. It comes first.
type Clock struct {
	Time
	Realtime int64 // ns since 1970 at Time
	Boottime uint64
}

// Tick says that time has passed although nothing happened: a detector that asked
// to be woken is.
type Tick struct{ Time }

// Loss is a count of what could not be recorded since tracing started.
type Loss struct {
	Time
	Detector   string
	Cause      string
	Count      uint64
	DetailOnly bool // such as a stack: what was counted and concluded still holds
}

// AwayThreads is the kernel's own list of the threads that are away from home. It
// is read when records were lost, so that a detector can put its picture right.
type AwayThreads struct {
	Time
	Threads []AwayThread
}

// AwayThread is one of them.
type AwayThread struct {
	TGID, TID   uint32
	Comm        string // of the process, as /proc has it; "" if it is gone
	Home, Netns NetnsID
	Since       uint64 // ns of CLOCK_MONOTONIC
	LeftBehind  bool   // cloned there, or found there at the start
	LeftAlone   bool   // its process had one thread when it, or its parent, left
}

// NetnsName is what was learnt of a network namespace's name.
type NetnsName struct {
	Time
	Netns         NetnsID
	Name          string // as `ip netns` or the container runtime calls it; "host" for pid 1's
	Container     string // id
	ContainerName string
}

// ProcessName is what was learnt of a process.
type ProcessName struct {
	Time
	TGID          uint32
	Container     string
	ContainerName string
}

// Symbol is the name of a code address. TGID is 0 for the kernel's.
type Symbol struct {
	Time
	TGID uint32
	Addr uint64
	Text string
}

// Setup is what is known of this kernel that a verdict depends on.
type Setup struct {
	Time
	// RefcountBase is the count of a net_device that nobody holds: 0 before 5.13,
	// 1 since. It means nothing unless RefcountBaseKnown.
	RefcountBase      int32
	RefcountBaseKnown bool
	// SeesFree: the end of a device is seen, so that silence is not taken for it.
	SeesFree bool
	// ScansHolders: a HolderScan follows soon after a device is first seen waiting.
	ScansHolders bool
	// HoldersByKprobe: some families of holders are seen by kprobes, of which the
	// kernel may skip a hit without counting it.
	HoldersByKprobe bool
	// DstExact: hits that a ledger of dst entries missed are known of.
	DstExact bool
	// HoldersOneIn: of objects that hold devices one in so many is followed, or was at
	// some time since tracing started; 0 and 1: all.
	HoldersOneIn uint32
	// SearchesMemory: no holder is followed; the kernel's memory is searched for what
	// holds a device that has waited, and a HolderSearch tells.
	SearchesMemory bool
}

// Destination decodes the address given to connect(2): an IP address and port, or
// the name of the family for others. It is ok only for IPv4 and IPv6.
func (c *StrandedCall) Destination() (netip.AddrPort, bool) {
	const inet, inet6 = 2, 10 // AF_INET, AF_INET6
	a := c.Address
	if len(a) < 8 {
		return netip.AddrPort{}, false
	}
	port := uint16(a[2])<<8 | uint16(a[3])
	switch le.Uint16(a) {
	case inet:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[4:8])), port), true
	case inet6:
		if len(a) < 24 {
			return netip.AddrPort{}, false
		}
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(a[8:24])), port), true
	}
	return netip.AddrPort{}, false
}

// Clone returns a copy that stays valid when the record's decoder goes on.
func (s *Stacks) Clone() Stacks {
	c := *s
	c.Kernel, c.User = slices.Clone(s.Kernel), slices.Clone(s.User)
	return c
}
