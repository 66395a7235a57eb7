// SPDX-License-Identifier: Apache-2.0

package record

// PointerMeaning is what a pointer to a device is.
type PointerMeaning uint8

// What a pointer to a device can be.
const (
	PointerUnknown PointerMeaning = iota // of an object whose kind is not known
	PointerPlain                         // a pointer without a reference
	PointerCounted                       // a reference
)

// HeldObject is an object that was found in the kernel's memory and that points at a
// network device. A [HolderSearch] of the device follows it.
type HeldObject struct {
	Time
	Dev    uint64 // address of the net_device
	Object uint64 // address of the object
	Field  string // "llc_sock.dev"; for an object of unknown kind where in it
	Cache  string // the slab cache that it is of, "" if it is of none
	Family string // see docs/holders.md
	Means  PointerMeaning
	// Certain is false when it may also be something else: Reason has what speaks for
	// it.
	Certain bool
	Reason  string
	// Facts are what is known of the object beyond that, by the names that they have
	// in findings.
	Facts []HeldFact
	// Sockets are those that the object is, or that point at it.
	Sockets     []Socket
	SocketsMore int    // further ones
	Other       string // the device in whose data the object is, or that it connects with
}

// HeldFact is something known of an object.
type HeldFact struct{ Name, Value string }

// Socket is a socket that holds a device, itself or through an object.
type Socket struct {
	Family   uint16 // AF_INET, ...
	Protocol string // the kernel's name of it: LLC, PACKET, TCP
	Inode    uint64 // its number in /proc/PID/fd; 0: no process can have it open
	Netns    NetnsID
	Owners   []SocketOwner
	// OwnersMore is how many descriptors more there are.
	OwnersMore int
}

// SocketOwner is a process that has a socket open.
type SocketOwner struct {
	Thread Thread
	FD     int32
}

// HolderSearch says that the kernel's memory was searched for what points at a device.
// The objects were told before it.
type HolderSearch struct {
	Time
	Dev     uint64
	Name    string
	Ifindex int32
	Netns   NetnsID
	Kind    string // such as veth
	State   string // registered, waiting, ...
	Waiting bool   // in unregistration: it waits until nobody holds it

	// Usage is the usage count; Own is how many of it the device has of itself.
	Usage, Own           int32
	UsageKnown, OwnKnown bool
	// Moved is true when the usage count changed during the search: what was found and
	// the count are then of different times.
	Moved bool

	Plain   int // pointers without a reference
	Free    int // in memory that nobody uses
	Unknown int // in objects of unknown kind

	Bytes, Pages, Vanished, Dropped uint64 // what was searched
	TookNS                          uint64
	// Dump is the release of the kernel whose crash dump was searched; "": a running
	// kernel's memory was.
	Dump string
	// NotSaved is how many pages that can have objects are not in the dump.
	NotSaved uint64
	// Untyped are the modules whose types the kernel does not tell.
	Untyped []string
}
