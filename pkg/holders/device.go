// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"fmt"

	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// Device is a network device found in memory.
type Device struct {
	Addr    uint64
	Name    string
	Ifindex int32
	Netns   record.NetnsID
	State   State
	Kind    string // such as veth or vlan; "" for a device of the machine's own
	// Count is the true reference count, summed over all CPUs. It is what the kernel
	// calls the usage count.
	Count      int32
	CountKnown bool

	counts             []int32 // of each CPU
	net                uint64  // address of its struct net
	tx, rx, ingress    uint64  // its queues; ingress is 0 without such a qdisc
	txCount, rxCount   uint64
	priv, end          uint64 // its driver's data, and the end of its memory
	handler, handlerOf uint64 // rx_handler_data and rx_handler
}

// State is where in its life a device is.
type State uint8

// The states, by the constants of the kernel's enum netdev_reg_state.
const (
	Uninitialized State = iota
	Registered
	Unregistering
	Unregistered // it waits until nobody holds it
	Released
	Dummy
)

// String is the state in a word.
func (s State) String() string {
	words := [...]string{"uninitialized", "registered", "unregistering", "waiting", "released", "dummy"}
	if int(s) < len(words) {
		return words[s]
	}
	return "unknown"
}

// readDevice reads the net_device at an address, and checks that there is one: a
// device that is freed under the reader, or was freed long ago, does not pass.
func (k *Kernel) readDevice(addr uint64) (*Device, error) {
	d := &Device{Addr: addr, Name: k.text(addr, "net_device.name")}
	fail := func(what string) (*Device, error) {
		return nil, fmt.Errorf("no network device at this address: %s", what)
	}
	if !printable(d.Name) {
		return fail("its name is not printable")
	}
	state, ok := k.get(addr, "net_device.reg_state")
	if !ok || state > uint64(Dummy) {
		return fail("its state is unknown")
	}
	d.State = State(state)
	ifindex, ok := k.get(addr, "net_device.ifindex")
	if d.Ifindex = int32(ifindex); !ok || d.Ifindex <= 0 {
		return fail("it has no ifindex")
	}
	ops, ok := k.get(addr, "net_device.netdev_ops")
	if _, _, known := k.symbol(ops); !ok || !known {
		return fail("its operations are not the kernel's")
	}
	if d.net, ok = k.get(addr, "net_device.nd_net.net"); !ok || !k.isNet(d.net) {
		return fail("its namespace is none")
	}
	d.Netns = k.netnsOf(d.net)
	d.tx, _ = k.get(addr, "net_device._tx")
	d.rx, _ = k.get(addr, "net_device._rx")
	d.ingress, _ = k.get(addr, "net_device.ingress_queue")
	d.txCount, _ = k.get(addr, "net_device.num_tx_queues")
	d.rxCount, _ = k.get(addr, "net_device.num_rx_queues")
	if back, ok := k.get(d.tx, "netdev_queue.dev"); !ok || back != addr || d.txCount == 0 {
		return fail("its transmit queues are not its own")
	}
	if back, ok := k.get(d.rx, "netdev_rx_queue.dev"); d.rx != 0 && (!ok || back != addr) {
		return fail("its receive queues are not its own")
	}
	const mostQueues = 65536
	d.txCount, d.rxCount = min(d.txCount, mostQueues), min(d.rxCount, mostQueues)
	d.handler, _ = k.get(addr, "net_device.rx_handler_data")
	d.handlerOf, _ = k.get(addr, "net_device.rx_handler")
	if ops, ok := k.get(addr, "net_device.rtnl_link_ops"); ok && ops != 0 {
		if kind, ok := k.get(ops, "rtnl_link_ops.kind"); ok {
			const maxKind = 32
			d.Kind, _ = k.memory.Text(kind, maxKind)
		}
	}
	k.readExtent(d)
	k.readCount(d)
	return d, nil
}

// readExtent finds where the device's memory ends, in which its driver's data follows
// on the struct. NETDEV_ALIGN is 32 on every kernel.
func (k *Kernel) readExtent(d *Device) {
	const align = 32
	size := k.size("net_device")
	d.priv = d.Addr + (size+align-1)&^(align-1)
	d.end = d.priv
	if object, ok := k.memory.ObjectAt(d.Addr); ok {
		d.end = object.Start + uint64(object.Cache.ObjectSize)
	} else if n, ok := k.get(d.Addr, "net_device.priv_len"); ok { // since 6.12
		d.end = d.priv + n
	} else if k.memory.InRAM(d.Addr) {
		if end, ok := k.memory.CompoundEnd(d.Addr); ok {
			d.end = end
		}
	}
}

// readCount adds up the per-CPU counts, as netdev_refcnt_read() does.
func (k *Kernel) readCount(d *Device) {
	d.Count, d.CountKnown, d.counts = 0, false, nil
	if v, ok := k.get(d.Addr, "net_device.dev_refcnt"); ok {
		d.Count, d.CountKnown, d.counts = int32(v), true, []int32{int32(v)}
		return
	}
	variable, ok := k.get(d.Addr, "net_device.pcpu_refcnt")
	if !ok || variable == 0 {
		return
	}
	for _, at := range k.memory.CPUs(variable) {
		n, err := k.memory.Uint32(at)
		if err != nil {
			return
		}
		d.Count += int32(n)
		d.counts = append(d.counts, int32(n))
	}
	d.CountKnown = true
}

// isNet reports whether there is a struct net at the address: one on the list of all,
// or one that was taken off to be cleaned up, and has the number of a namespace.
func (k *Kernel) isNet(addr uint64) bool {
	if addr < 1<<63 || addr%8 != 0 {
		return false
	}
	// PROC_DYNAMIC_FIRST; the initial namespaces' numbers are a little below it.
	const first = 0xEFFFFFF0
	inode, ok := k.get(addr, "net.ns.inum")
	if !ok || inode < first {
		return false
	}
	ops, ok := k.get(addr, "net.ns.ops")
	name, _, known := k.symbol(ops)
	return ok && known && name == "netns_operations"
}

func (k *Kernel) netnsOf(net uint64) record.NetnsID {
	inode, _ := k.get(net, "net.ns.inum")
	id := record.NetnsID{Inode: uint32(inode)}
	cookie, ok := k.get(net, "net.net_cookie")
	if !ok || cookie == 0 {
		cookie, _ = k.get(net, "net.ns.ns_id") // since 6.18
	}
	id.Cookie = cookie
	return id
}

// nets are the network namespaces that are alive.
func (k *Kernel) nets() ([]uint64, error) {
	head, ok := k.Address("net_namespace_list")
	offset, okField := k.field("net.list")
	if !ok || !okField {
		return nil, fmt.Errorf("%w: no list of network namespaces", ErrMissing)
	}
	var list []uint64
	k.memory.EachInList(head, uint64(offset.Offset), func(net uint64) { list = append(list, net) })
	return list, nil
}

// Devices returns the devices of all living namespaces, each once. No lock is taken: one
// that comes or goes meanwhile may be missing.
func (k *Kernel) Devices() ([]*Device, error) {
	nets, err := k.nets()
	if err != nil {
		return nil, err
	}
	offset, _ := k.field("net_device.dev_list")
	var list []*Device
	seen := make(map[uint64]bool)
	for _, net := range nets {
		head, ok := k.at(net, "net.dev_base_head")
		if !ok {
			return nil, fmt.Errorf("%w: no list of devices", ErrMissing)
		}
		// A device that moves to another namespace takes the walk along, to devices that
		// are met there again.
		const attempts = 5
		whole := false
		for attempt := 0; attempt < attempts && !whole; attempt++ {
			if attempt > 0 {
				k.memory.Forget()
			}
			whole = k.memory.EachInList(head, uint64(offset.Offset), func(addr uint64) {
				if seen[addr] {
					return
				}
				if d, err := k.readDevice(addr); err == nil {
					seen[addr] = true
					list = append(list, d)
				}
			})
		}
	}
	return list, nil
}

// WaitingAt returns those of the devices at these addresses that are there and wait in
// unregistration.
func (k *Kernel) WaitingAt(addrs []uint64) []*Device {
	k.memory.Forget()
	var list []*Device
	for _, addr := range addrs {
		if d, err := k.readDevice(addr); err == nil && d.State == Unregistered {
			list = append(list, d)
		}
	}
	return list
}

// refcountBase is the reference count of a device that nobody holds: see
// [kernel.Facts.RefcountBase].
func (k *Kernel) refcountBase() (int32, bool) {
	if _, ok := k.field("net_device.refcnt_tracker"); ok {
		return 1, true
	}
	base := kernel.Facts{}.RefcountBase(k.symbols, nil)
	return int32(base.Value.Base), base.Err == nil
}

// queueArray is an array of a device's queues.
type queueArray struct {
	name     string // of the struct
	at, many uint64
}

func (d *Device) queues() []queueArray {
	return []queueArray{{"netdev_queue", d.tx, d.txCount}, {"netdev_rx_queue", d.rx, d.rxCount}, {"netdev_queue", d.ingress, 1}}
}
