// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

var le = binary.LittleEndian

// The wire numbers of enum record_type in headers/record.h.
const (
	typeNetnsSwitch  = 1
	typeThreadClone  = 2
	typeThreadExit   = 3
	typeThreadSeen   = 4
	typeProcessSeen  = 5
	typeProcessExec  = 6
	typeProcessExit  = 7
	typeStrandedCall = 8
	typeDevWait      = 9
	typeDevFree      = 10
	typeConsoleWait  = 11
	typeModuleLoad   = 12
	typeCsumRewrite  = 13
	typeCsumCorrupt  = 14
	typeDstFailure   = 15
	typeDstCrossing  = 16
	typeHolder       = 18
	typeNetnsBirth   = 19
	typeNetnsAlive   = 30
	typeNetnsList    = 31
	typeNetnsTask    = 32
	typeNetnsFile    = 33
)

// Sizes on the wire. A record may be longer than its size here: a newer writer
// appends fields, which this reader does not know and passes over.
const (
	headerSize  = 16
	commSize    = 16
	stackDepth  = 32
	threadSize  = 16 + commSize
	netnsSize   = 16
	stacksSize  = 8 + 2*stackDepth*8
	addressSize = 32
	textSize    = 128
	nameSize    = 16
	moduleSize  = 56
)

var bodySize = map[uint16]int{
	typeNetnsSwitch:  threadSize + 3*netnsSize + 8 + stacksSize,
	typeThreadClone:  2*threadSize + 2*netnsSize + 16 + stacksSize,
	typeThreadExit:   threadSize + netnsSize + 24,
	typeThreadSeen:   threadSize + 2*netnsSize + 8,
	typeProcessSeen:  threadSize + netnsSize + 8,
	typeProcessExec:  threadSize + netnsSize + 8,
	typeProcessExit:  threadSize + netnsSize + 8,
	typeStrandedCall: threadSize + netnsSize + 8 + 24 + 16 + addressSize,
	typeDevWait:      16 + netnsSize + 16 + nameSize,
	typeDevFree:      16 + netnsSize + 16 + nameSize,
	typeConsoleWait:  8 + textSize,
	typeModuleLoad:   moduleSize,
	typeCsumRewrite:  csumDeviceSize + csumCountsSize,
	typeCsumCorrupt:  csumCorruptSize,
	typeDstFailure:   netnsSize + 48 + nameSize + 8 + threadSize + stacksSize,
	typeDstCrossing:  2*netnsSize + 48,
	typeHolder:       24 + threadSize + 24 + 2*16,
	typeNetnsBirth:   netnsSize + threadSize,
	typeNetnsAlive:   netnsSize + 8,
	typeNetnsList:    8,
	typeNetnsTask:    threadSize + netnsSize + 16,
	typeNetnsFile:    threadSize + netnsSize + 24 + 32,
}

// ErrMalformed is wrapped by every error of Decode.
var ErrMalformed = errors.New("malformed record")

// UnknownTypeError is a record of a type that this version does not know. It can
// be passed over.
type UnknownTypeError struct{ Type uint16 }

func (e *UnknownTypeError) Error() string { return fmt.Sprintf("record of unknown type %d", e.Type) }

// Decoder turns bytes from the ring buffer into records. It reuses the records it
// returns: strings aside, decoding allocates nothing.
type Decoder struct {
	c cursor

	netnsSwitch  NetnsSwitch
	threadClone  ThreadClone
	threadExit   ThreadExit
	threadSeen   ThreadSeen
	process      Process
	strandedCall StrandedCall
	devWait      DevWait
	devFree      DevFree
	consoleWait  ConsoleWait
	moduleLoad   ModuleLoad
	csumRewrite  CsumRewrite
	csumCorrupt  CsumCorrupt
	dstFailure   DstFailure
	dstCrossing  DstCrossing
	holder       Holder
	netnsBirth   NetnsBirth
	netnsAlive   NetnsAlive
	netnsList    NetnsList
	netnsTask    NetnsTask
	netnsFile    NetnsFile

	comms commCache
}

// Decode decodes one record. The result is valid until the next call.
func (d *Decoder) Decode(raw []byte) (Record, error) {
	if len(raw) < headerSize {
		return nil, fmt.Errorf("%w: %d bytes, shorter than a header", ErrMalformed, len(raw))
	}
	kind, size := le.Uint16(raw), int(le.Uint32(raw[4:]))
	body, known := bodySize[kind]
	if !known {
		return nil, &UnknownTypeError{Type: kind}
	}
	if size < headerSize+body || size > len(raw) {
		return nil, fmt.Errorf("%w: type %d says %d bytes, needs %d, has %d",
			ErrMalformed, kind, size, headerSize+body, len(raw))
	}
	t := Time(le.Uint64(raw[8:]))
	d.c = cursor{b: raw[headerSize:size], comms: &d.comms}
	return d.body(kind, t), nil
}

func (d *Decoder) body(kind uint16, t Time) Record {
	c := &d.c
	switch kind {
	case typeNetnsSwitch:
		r := &d.netnsSwitch
		r.Time, r.Thread = t, c.thread()
		r.Home, r.From, r.To = c.netns(), c.netns(), c.netns()
		r.Threads, r.Clones = c.u32(), c.u32()
		c.stacks(&r.Stacks)
		return r
	case typeThreadClone:
		r := &d.threadClone
		r.Time, r.Parent, r.Child = t, c.thread(), c.thread()
		r.Home, r.Away, r.LeftHome = c.netns(), c.netns(), c.u64()
		r.Threads, r.LeftAlone = c.u32(), c.u32() != 0
		c.stacks(&r.Stacks)
		return r
	case typeThreadExit:
		r := &d.threadExit
		r.Time, r.Thread, r.Netns = t, c.thread(), c.netns()
		r.Sockets, r.Connects, r.Failures = c.u64(), c.u64(), c.u64()
		return r
	case typeThreadSeen:
		r := &d.threadSeen
		r.Time, r.Thread, r.Home, r.Netns, r.Threads = t, c.thread(), c.netns(), c.netns(), c.u32()
		return r
	case typeProcessSeen, typeProcessExec, typeProcessExit:
		r := &d.process
		r.Time, r.Event = t, ProcessEvent(kind-typeProcessSeen)
		r.Leader, r.Home, r.Threads, r.Named = c.thread(), c.netns(), c.u32(), c.u32() != 0
		return r
	case typeStrandedCall:
		return d.call(t)
	case typeDevWait:
		r := &d.devWait
		r.Time, r.Dev, r.Since, r.Netns = t, c.u64(), c.u64(), c.netns()
		r.Refcount, r.RefcountKnown, r.Ifindex = int32(c.u32()), c.u32() != 0, int32(c.u32())
		c.skip(4)
		r.Name = c.text(nameSize)
		return r
	case typeDevFree:
		r := &d.devFree
		r.Time, r.Dev, r.Since, r.Netns = t, c.u64(), c.u64(), c.netns()
		c.skip(8)
		r.Ifindex = int32(c.u32())
		c.skip(4)
		r.Name = c.text(nameSize)
		return r
	case typeConsoleWait:
		r := &d.consoleWait
		c.skip(8)
		r.Time, r.Text = t, c.text(textSize)
		return r
	case typeCsumRewrite:
		r := &d.csumRewrite
		r.Time, r.CsumDevice, r.CsumCounts = t, c.csumDevice(), c.csumCounts()
		return r
	case typeCsumCorrupt:
		c.csumCorrupt(t, &d.csumCorrupt)
		return &d.csumCorrupt
	case typeDstFailure:
		return d.failure(t)
	case typeDstCrossing:
		return d.crossing(t)
	case typeHolder:
		return d.holding(t)
	case typeNetnsBirth:
		r := &d.netnsBirth
		r.Time, r.Netns, r.Thread = t, c.netns(), c.thread()
		return r
	case typeNetnsAlive:
		r := &d.netnsAlive
		r.Time, r.Netns, r.References, r.InNsfs = t, c.netns(), c.u32(), c.u32() != 0
		return r
	case typeNetnsList:
		r := &d.netnsList
		r.Time, r.Namespaces, r.Whole = t, c.u32(), c.u32() != 0
		return r
	case typeNetnsTask:
		r := &d.netnsTask
		r.Time, r.Thread, r.Netns, r.Nsproxy, r.Leader, r.Threads = t, c.thread(), c.netns(), c.u64(), c.u32(), c.u32()
		return r
	case typeNetnsFile:
		r := &d.netnsFile
		r.Time, r.Thread, r.Netns = t, c.thread(), c.netns()
		r.Object, r.Inode, r.Carrier = c.u64(), c.u64(), c.u64()
		r.FD, r.Kind, r.Counted = c.u32(), NetnsFileKind(c.u32()), c.u32() != 0
		r.Family, r.Type, r.Proto, r.State, r.Waiting = c.u32(), c.u32(), c.u32(), c.u32(), c.u32()
		return r
	default: // typeModuleLoad: Decode has let no other through
		r := &d.moduleLoad
		r.Time, r.Name = t, c.text(moduleSize)
		return r
	}
}

func (d *Decoder) call(t Time) Record {
	c, r := &d.c, &d.strandedCall
	r.Time, r.Thread, r.Netns = t, c.thread(), c.netns()
	r.Call, r.Result = Call(c.u32()), int32(c.u32())
	r.Sockets, r.Connects, r.Failures = c.u64(), c.u64(), c.u64()
	r.Family, r.Type, r.Protocol = c.u32(), c.u32(), c.u32()
	n := min(int(c.u32()), addressSize)
	r.Address = append(r.Address[:0], c.bytes(addressSize)[:n]...)
	return r
}

func (d *Decoder) holding(t Time) Record {
	c, r := &d.c, &d.holder
	r.Time, r.Dev, r.Object, r.Since, r.Thread = t, c.u64(), c.u64(), c.u64(), c.thread()
	r.Family, r.StackID = HolderFamily(c.u32()), int32(c.u32())
	r.ObjectRefs, r.ObjectRefsKnown = int32(c.u32()), c.u32() != 0
	r.AddressFamily, r.Handle = c.u32(), c.u32()
	copy(r.Address[:], c.bytes(len(r.Address)))
	r.Text = c.text(nameSize)
	r.Stacks.Kernel, r.Stacks.User = r.Stacks.Kernel[:0], r.Stacks.User[:0]
	return r
}

func (d *Decoder) failure(t Time) Record {
	c, r := &d.c, &d.dstFailure
	r.Time, r.Ops.Addr, r.Ops.Netns = t, c.u64(), c.netns()
	r.Count, r.Entries, r.Threshold, r.MayRefuse = c.u64(), int64(c.u64()), c.u32(), c.u32() != 0
	r.Ops.Kind, r.Ops.Family, r.Ifindex = DstOpsKind(c.u32()), c.u32(), int32(c.u32())
	r.EntriesKnown, r.Name = c.u32() != 0, c.text(nameSize)
	r.Limit, r.LimitKnown, r.Thread = int32(c.u32()), c.u32() != 0, c.thread()
	c.stacks(&r.Stacks)
	return r
}

func (d *Decoder) crossing(t Time) Record {
	c, r := &d.c, &d.dstCrossing
	r.Time, r.From.Addr, r.To.Addr = t, c.u64(), c.u64()
	r.From.Netns, r.To.Netns, r.Count = c.netns(), c.netns(), c.u64()
	r.Cause, r.From.Kind, r.To.Kind = DstCrossingCause(c.u32()), DstOpsKind(c.u32()), DstOpsKind(c.u32())
	r.From.Family, r.To.Family, r.NoCount = c.u32(), c.u32(), c.u32() != 0
	return r
}

// cursor reads fields one after another. Decode has checked that they are there.
type cursor struct {
	b     []byte
	comms *commCache
}

func (c *cursor) bytes(n int) []byte {
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) skip(n int)  { c.b = c.b[n:] }
func (c *cursor) u16() uint16 { return le.Uint16(c.bytes(2)) }
func (c *cursor) u32() uint32 { return le.Uint32(c.bytes(4)) }
func (c *cursor) u64() uint64 { return le.Uint64(c.bytes(8)) }

func (c *cursor) text(n int) string { return c.comms.intern(cString(c.bytes(n))) }

func (c *cursor) netns() NetnsID {
	n := NetnsID{Cookie: c.u64(), Inode: c.u32()}
	c.skip(4)
	return n
}

func (c *cursor) thread() Thread {
	return Thread{TGID: c.u32(), TID: c.u32(), Start: c.u64(), Comm: c.text(commSize)}
}

func (c *cursor) stacks(s *Stacks) {
	kernel, user := int32(c.u32()), int32(c.u32())
	s.Kernel, s.KernelErr = c.stack(s.Kernel[:0], kernel)
	s.User, s.UserErr = c.stack(s.User[:0], user)
}

func (c *cursor) stack(into []uint64, size int32) ([]uint64, int32) {
	b := c.bytes(stackDepth * 8)
	if size < 0 {
		return into, -size
	}
	for i := 0; i < min(int(size)/8, stackDepth); i++ {
		if pc := le.Uint64(b[i*8:]); pc != 0 {
			into = append(into, pc)
		}
	}
	return into, 0
}

func cString(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}

// commCache makes one string of each name that keeps coming: a busy daemon has
// few, and a flood of different ones must not grow it.
type commCache struct{ m map[string]string }

const commCacheMax = 1024

func (c *commCache) intern(b []byte) string {
	if s, ok := c.m[string(b)]; ok {
		return s
	}
	if c.m == nil || len(c.m) >= commCacheMax {
		c.m = make(map[string]string)
	}
	s := string(b)
	c.m[s] = s
	return s
}
