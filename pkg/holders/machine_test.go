// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"testing"

	"github.com/netns-trace/netns-trace/pkg/holders/btftest"
	"github.com/netns-trace/netns-trace/pkg/holders/structs"
	"github.com/netns-trace/netns-trace/pkg/kernel"
)

// The tests' machine: 32 pages of memory, of which the last 4 are the kernel image, and
// the struct pages. Pages 8 and 9 are a slab of 16 objects of 512 bytes, 20 to 23 are a
// thread's stack.
const (
	ramAt, ramPages = 0xffff888000000000, 32
	imageAt         = 0xffffffff81000000
	imagePage       = 28
	pagesAt         = 0xffffea0000000000
	pageBytes       = 4096
	metaBytes       = 64
	stackPage       = 20
	cacheRandom     = 0x1122334455667788
)

// Variables of the kernel image.
const (
	atNets, atTask, atDummyOps, atNetnsOps, atFileOps = imageAt + 0x10, imageAt + 0x100, imageAt + 0x300, imageAt + 0x308, imageAt + 0x310
	atProto, atCache, atCacheName, atNet, atCount     = imageAt + 0x400, imageAt + 0x500, imageAt + 0x600, imageAt + 0x700, imageAt + 0x900
	atSignal, atFiles, atArp, atDevmaps               = imageAt + 0xa00, imageAt + 0xa20, imageAt + 0xa40, imageAt + 0xa60
)

type machine struct {
	ram   [ramPages * pageBytes]byte
	pages [pageBytes]byte
}

func (m *machine) Segments() []kernel.Segment {
	return []kernel.Segment{
		{Addr: imageAt, Size: (ramPages - imagePage) * pageBytes, Physical: imagePage * pageBytes, PhysicalKnown: true},
		{Addr: ramAt, Size: uint64(len(m.ram)), PhysicalKnown: true},
		{Addr: pagesAt, Size: uint64(len(m.pages))},
	}
}

func (m *machine) at(addr uint64, n int) []byte {
	switch {
	case addr >= imageAt && addr-imageAt+uint64(n) <= (ramPages-imagePage)*pageBytes:
		return m.ram[imagePage*pageBytes+addr-imageAt:][:n]
	case addr >= ramAt && addr-ramAt+uint64(n) <= uint64(len(m.ram)):
		return m.ram[addr-ramAt:][:n]
	case addr >= pagesAt && addr-pagesAt+uint64(n) <= uint64(len(m.pages)):
		return m.pages[addr-pagesAt:][:n]
	}
	return nil
}

func (m *machine) Read(b []byte, addr uint64) error {
	from := m.at(addr, len(b))
	if from == nil {
		return errors.New("no such address")
	}
	copy(b, from)
	return nil
}

// put writes numbers of 8 bytes, by offset.
func (m *machine) put(addr uint64, words map[int]uint64) {
	for offset, v := range words {
		binary.LittleEndian.PutUint64(m.at(addr+uint64(offset), 8), v)
	}
}

func (m *machine) text(addr uint64, s string) { copy(m.at(addr, len(s)), s) }

// list makes a circle of list_heads.
func (m *machine) list(heads ...uint64) {
	for i, head := range heads {
		next := heads[(i+1)%len(heads)]
		m.put(head, map[int]uint64{0: next})
		m.put(next, map[int]uint64{8: head})
	}
}

// object is the address of a slab object.
func slabObject(n int) uint64 { return ramAt + 8*pageBytes + uint64(n)*512 }

type member = btftest.Member

func machineTypes() []byte {
	list := "list_head"
	return btftest.New().
		Enum("pageflags", "PG_locked", 0, "PG_reserved", 1, "PG_lru", 2).
		Enum("pagetype", "PGTY_slab", 0xf5).
		Struct("page", metaBytes, member{Name: "flags", Type: "u64"}, member{Name: "compound_head", Offset: 8, Type: "u64"},
			member{Name: "mapping", Offset: 24, Type: "void*"}, member{Name: "_mapcount", Offset: 48, Type: "u32"}, member{Name: "_refcount", Offset: 52, Type: "u32"}).
		Struct("slab", metaBytes, member{Name: "slab_cache", Offset: 16, Type: "void*"}, member{Name: "freelist", Offset: 32, Type: "void*"},
			member{Name: "inuse", Offset: 40, Bits: 16, Type: "u32"}, member{Name: "objects", Offset: 40, Bit: 16, Bits: 15, Type: "u32"}).
		Struct("kmem_cache", 64, member{Name: "size", Offset: 8, Type: "u32"}, member{Name: "object_size", Offset: 12, Type: "u32"},
			member{Name: "offset", Offset: 16, Type: "u32"}, member{Name: "refcount", Offset: 20, Type: "u32"}, member{Name: "name", Offset: 24, Type: "char*"},
			member{Name: "ctor", Offset: 32, Type: "fn"}, member{Name: "random", Offset: 40, Type: "u64"}).
		Struct(list, 16, member{Name: "next", Type: "void*"}, member{Name: "prev", Offset: 8, Type: "void*"}).
		Struct("refcount_struct", 4, member{Name: "refs", Type: "u32"}).
		Struct("ns_common", 16, member{Name: "ops", Type: "void*"}, member{Name: "inum", Offset: 8, Type: "u32"}).
		Struct("net", 64, member{Name: "list", Type: list}, member{Name: "dev_base_head", Offset: 16, Type: list},
			member{Name: "ns", Offset: 32, Type: "ns_common"}, member{Name: "net_cookie", Offset: 48, Type: "u64"}).
		Struct("possible_net_t", 8, member{Name: "net", Type: "*net"}).
		Struct("kobject", 16, member{Name: "ktype", Type: "void*"}, member{Name: "name", Offset: 8, Type: "char*"}).
		Struct("net_device", 192, member{Name: "name", Type: "[16]u8"}, member{Name: "netdev_ops", Offset: 16, Type: "void*"},
			member{Name: "reg_state", Offset: 24, Type: "u8"}, member{Name: "ifindex", Offset: 28, Type: "u32"},
			member{Name: "nd_net", Offset: 32, Type: "possible_net_t"}, member{Name: "_tx", Offset: 40, Type: "*netdev_queue"},
			member{Name: "num_tx_queues", Offset: 48, Type: "u32"}, member{Name: "_rx", Offset: 56, Type: "*netdev_rx_queue"},
			member{Name: "num_rx_queues", Offset: 64, Type: "u32"}, member{Name: "pcpu_refcnt", Offset: 72, Type: "void*"},
			member{Name: "todo_list", Offset: 80, Type: list}, member{Name: "close_list", Offset: 96, Type: list},
			member{Name: "refcnt_tracker", Offset: 112, Type: "u8"}, member{Name: "ip_ptr", Offset: 120, Type: "*in_device"},
			member{Name: "dev_list", Offset: 152, Type: list}, member{Name: "state", Offset: 168, Type: "u64"}).
		Struct("netdev_queue", 32, member{Name: "dev", Type: "*net_device"}, member{Name: "kobj", Offset: 8, Type: "kobject"}).
		Struct("netdev_rx_queue", 32, member{Name: "kobj", Type: "kobject"}, member{Name: "dev", Offset: 16, Type: "*net_device"}).
		Struct("in_device", 48, member{Name: "dev", Type: "*net_device"}, member{Name: "refcnt", Offset: 8, Type: "refcount_struct"},
			member{Name: "parms", Offset: 16, Type: "*neigh_parms"}, member{Name: "mc", Offset: 24, Type: list}).
		Struct("neigh_parms", 64, member{Name: "net", Type: "possible_net_t"}, member{Name: "dev", Offset: 8, Type: "*net_device"},
			member{Name: "list", Offset: 16, Type: list}, member{Name: "dead", Offset: 32, Type: "u32"},
			member{Name: "refcnt", Offset: 36, Type: "refcount_struct"}, member{Name: "setup", Offset: 40, Type: "fn"}).
		Struct("nosuch_holder", 32, member{Name: "dev", Type: "*net_device"}, member{Name: "n", Offset: 8, Type: "u64"}).
		Struct("sock_common", 24, member{Name: "skc_prot", Type: "*proto"}, member{Name: "skc_net", Offset: 8, Type: "possible_net_t"}, member{Name: "skc_family", Offset: 16, Type: "u16"}).
		Struct("sock", 32, member{Name: "__sk_common", Type: "sock_common"}, member{Name: "sk_socket", Offset: 24, Type: "*socket"}).
		Struct("proto", 48, member{Name: "obj_size", Type: "u32"}, member{Name: "name", Offset: 8, Type: "[32]u8"}).
		Struct("socket", 8, member{Name: "sk", Type: "*sock"}).
		Struct("inode", 8, member{Name: "i_ino", Type: "u64"}).
		Struct("socket_alloc", 16, member{Name: "socket", Type: "socket"}, member{Name: "vfs_inode", Offset: 8, Type: "inode"}).
		Struct("thread_struct", 8, member{Name: "sp", Type: "u64"}).
		Struct("task_struct", 128, member{Name: "tasks", Type: list}, member{Name: "signal", Offset: 16, Type: "void*"},
			member{Name: "thread_node", Offset: 24, Type: list}, member{Name: "stack", Offset: 40, Type: "void*"},
			member{Name: "pid", Offset: 48, Type: "u32"}, member{Name: "tgid", Offset: 52, Type: "u32"}, member{Name: "comm", Offset: 56, Type: "[16]u8"},
			member{Name: "files", Offset: 72, Type: "void*"}, member{Name: "thread", Offset: 80, Type: "thread_struct"}, member{Name: "on_cpu", Offset: 88, Type: "u32"}).
		Struct("signal_struct", 16, member{Name: "thread_head", Type: list}).
		Struct("files_struct", 8, member{Name: "fdt", Type: "void*"}).
		Struct("fdtable", 16, member{Name: "max_fds", Type: "u32"}, member{Name: "fd", Offset: 8, Type: "void*"}).
		Struct("bpf_map", 8, member{Name: "id", Type: "u32"}, member{Name: "max_entries", Offset: 4, Type: "u32"}).
		Struct("bpf_dtab", 32, member{Name: "map", Type: "bpf_map"}, member{Name: "netdev_map", Offset: 8, Type: "void*"},
			member{Name: "list", Offset: 16, Type: list}).
		Struct("bpf_dtab_netdev", 16, member{Name: "dev", Type: "*net_device"}, member{Name: "idx", Offset: 8, Type: "u32"}).
		Struct("file", 16, member{Name: "private_data", Type: "void*"}, member{Name: "f_op", Offset: 8, Type: "void*"}).
		Bytes()
}

func machineSymbols(t *testing.T) *kernel.Symbols {
	t.Helper()
	var b strings.Builder
	for _, s := range []struct {
		addr uint64
		name string
	}{
		{imageAt, "vmemmap_base"},
		{imageAt + 8, "__per_cpu_offset"},
		{imageAt + 0x40, "nr_cpu_ids"},
		{imageAt + 0x48, "init_on_alloc"},
		{atNets, "net_namespace_list"},
		{atTask, "init_task"},
		{atDummyOps, "dummy_netdev_ops"},
		{atNetnsOps, "netns_operations"},
		{atFileOps, "socket_file_ops"},
		{atProto, "llc_proto"},
		{atCache, "kmalloc_caches"},
		{atNet, "init_net"},
		{atArp, "arp_tbl"},
		{atDevmaps, "dev_map_list"},
	} {
		fmt.Fprintf(&b, "%x D %s\n", s.addr, s.name)
	}
	fmt.Fprintf(&b, "%x T neigh_setup\n%x T _etext\n", uint64(imageAt+0x2000), uint64(imageAt+0x3000))
	symbols, err := kernel.ReadSymbols(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return symbols
}

// Objects of the machine, by their place in the slab.
const (
	theDevice, theTx, theRx, theInDevice, theParms, theSocket, theSocketAlloc, theFile, theFiles, theFree, theUnknown, theTask = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
)

// newMachine has the device hold7, which waits in unregistration with a usage count of
// 3: its IPv4 state and a socket hold it, its neighbour parameters do no longer.
func newMachine(t *testing.T) (*machine, *Kernel) {
	t.Helper()
	m, k := newMachineOf(t, func(*machine) {})
	if k == nil {
		t.Fatal("the machine is not understood")
	}
	return m, k
}

// newMachineOf is newMachine with something changed; without a Kernel if it is not
// understood then.
func newMachineOf(t *testing.T, change func(m *machine)) (*machine, *Kernel) {
	t.Helper()
	m := new(machine)
	dev := slabObject(theDevice)
	m.put(imageAt, map[int]uint64{0: pagesAt, 0x40: 1, 0x48: 1})
	m.put(atCache, map[int]uint64{8: 512 | 512<<32, 16: 256 | 1<<32, 24: atCacheName, 40: cacheRandom})
	m.text(atCacheName, "kmalloc-512")
	for n := imagePage; n < ramPages; n++ {
		m.put(pagesAt+uint64(n)*metaBytes, map[int]uint64{0: 1 << 1, 48: 1 << 32})
	}
	m.put(pagesAt+8*metaBytes, map[int]uint64{16: atCache, 40: 16 << 16, 48: 0xf5 << 24})
	m.put(pagesAt+9*metaBytes, map[int]uint64{8: (pagesAt + 8*metaBytes) | 1})
	for n := stackPage; n < stackPage+4; n++ {
		m.put(pagesAt+uint64(n)*metaBytes, map[int]uint64{48: 1 << 32})
	}

	m.list(atNets, atNet)
	m.list(atNet + 16)
	m.put(atNet, map[int]uint64{32: atNetnsOps, 40: 0xF0000001, 48: 7})
	m.text(dev, "hold7")
	m.put(dev, map[int]uint64{
		16: atDummyOps, 24: 3 | 5<<32, 32: atNet, 40: slabObject(theTx), 48: 1, 56: slabObject(theRx), 64: 1, 72: atCount,
		120: slabObject(theInDevice),
	})
	m.list(dev + 96)
	m.put(atCount, map[int]uint64{0: 3})
	m.put(slabObject(theTx), map[int]uint64{0: dev})
	m.put(slabObject(theRx), map[int]uint64{16: dev})
	m.put(slabObject(theInDevice), map[int]uint64{0: dev, 8: 1, 16: slabObject(theParms)})
	m.list(slabObject(theInDevice) + 24)
	m.put(slabObject(theParms), map[int]uint64{0: atNet, 8: dev, 32: 1 | 2<<32, 40: imageAt + 0x2000})
	m.list(slabObject(theParms) + 16)

	// A socket whose struct no type describes, open as descriptor 1 of pid 42.
	m.put(atProto, map[int]uint64{0: 400})
	m.text(atProto+8, "LLC")
	m.put(slabObject(theSocket), map[int]uint64{0: atProto, 8: atNet, 16: 26, 24: slabObject(theSocketAlloc), 200: dev})
	m.put(slabObject(theSocketAlloc), map[int]uint64{0: slabObject(theSocket), 8: 1204})
	m.put(slabObject(theFile), map[int]uint64{0: slabObject(theSocketAlloc), 8: atFileOps})
	m.put(slabObject(theFiles), map[int]uint64{0: 2, 8: slabObject(theFiles) + 32, 40: slabObject(theFile)})
	m.put(atFiles, map[int]uint64{0: slabObject(theFiles)})

	// A free object that pointed at it once.
	free := slabObject(theFree)
	m.put(free, map[int]uint64{0: dev, 8: 1, 256: cacheRandom ^ bits.ReverseBytes64(free+256)})

	// A thread that waits for it.
	task := slabObject(theTask)
	stack := uint64(ramAt + stackPage*pageBytes)
	m.list(atTask, task)
	m.list(atSignal, task+24)
	m.put(task, map[int]uint64{16: atSignal, 40: stack, 48: 42 | 42<<32, 72: atFiles, 80: stack + 0x3000})
	m.text(task+56, "kworker/u4:1")
	m.put(stack, map[int]uint64{0x2000: dev /* below the stack pointer */, 0x3f00: dev + 80})
	m.list(dev+80, stack+0x3f00)

	types, err := structs.New(machineTypes())
	if err != nil {
		t.Fatal(err)
	}
	change(m)
	k, err := NewKernel(m, types, machineSymbols(t))
	if err != nil {
		return m, nil
	}
	return m, k
}
