// SPDX-License-Identifier: Apache-2.0

package record

// NetnsAlive is a network namespace in the kernel's list: one whose cleanup has not
// begun.
type NetnsAlive struct {
	Time
	Netns      NetnsID
	References uint32 // on the namespace: at 0 its cleanup begins
	InNsfs     bool   // a file of it is open or bind-mounted somewhere: all of them are one reference
}

// NetnsList ends the NetnsAlive records of one way through the kernel's list.
type NetnsList struct {
	Time
	Namespaces uint32 // how many there were
	Whole      bool   // false: the list changed meanwhile, and what came is a part of it
}

// NetnsTask is a thread in a network namespace that is looked at.
type NetnsTask struct {
	Time
	Thread  Thread
	Netns   NetnsID
	Nsproxy uint64 // address: threads with the same one are one reference
	Leader  uint32 // inode of the namespace of its process's first thread; 0: that has exited
	Threads uint32 // of the process
}

// NetnsFileKind is what a NetnsFile is. The numbers are those of enum netns_file_kind
// in headers/record.h.
type NetnsFileKind uint32

// The files that keep a network namespace alive.
const (
	NetnsFileNsfs   NetnsFileKind = 1 + iota // the namespace's own: /proc/PID/ns/net, or a bind mount, opened
	NetnsFileSocket                          // a socket
	NetnsFileTun                             // /dev/net/tun
	NetnsFileCut                             // no such file: a unix socket with more messages than are looked at
)

// NetnsFile is an open file that refers to a network namespace that is looked at.
type NetnsFile struct {
	Time
	Thread  Thread // in whose table of descriptors it is, or its carrier
	FD      uint32 // of the file, or its carrier
	Netns   NetnsID
	Kind    NetnsFileKind
	Object  uint64 // address of the sock, or of the namespace: two files with one are the same
	Inode   uint64 // of the file
	Carrier uint64 // inode of the unix socket that has it in an unread message; 0: it has a descriptor
	Counted bool   // it is a reference on the namespace by itself
	Family  uint32 // of a socket: AF_
	Type    uint32 // SOCK_
	Proto   uint32
	State   uint32 // TCP_, which other protocols use too
	Waiting uint32 // connections that wait to be accepted, each a reference
}

// NetnsMount is a bind mount of a network namespace. Source: /proc/PID/mountinfo.
type NetnsMount struct {
	Time
	Inode   uint32 // of the network namespace
	MountNS uint64 // inode of the mount namespace
	Initial bool   // that is pid 1's
	PID     uint32 // a process in it
	Comm    string // its name
	Path    string // as that process sees it
}

// NetnsLook begins the records of one look at what keeps namespaces alive: first those
// of threads, then files and mounts, and last the namespaces themselves. There are two
// looks: what is made or goes during one may seem to be kept by nothing.
type NetnsLook struct {
	Time
	Again bool   // it is the second
	Only  uint32 // inode of the one namespace that is looked at; 0: all but Skip
	Skip  uint32 // inode of the namespace left out
}

// NetnsLooked ends them.
type NetnsLooked struct {
	Time
	Unseen []string // what could not be looked at, in sentences
}
