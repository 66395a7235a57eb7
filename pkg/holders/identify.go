// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/holders/memory"
	"github.com/netns-trace/netns-trace/pkg/holders/structs"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// verdict says whether a pointer is a reference.
type verdict uint8

const (
	unknown verdict = iota
	plain           // a pointer without a reference
	counted
)

// object is what a pointer to a device was found in.
type object struct {
	hit    memory.Hit
	device *Device // that it points at
	queue  bool    // at a transmit queue of it
	start  uint64  // of the slab object, of the page
	size   uint64
	cache  string

	typ     structs.Type
	typed   bool
	base    uint64  // where the struct is
	where   string  // what it is in words of the kernel: "llc_sock.dev"
	inside  *Device // the device in whose memory it is
	score   float64 // of the type, where it was weighed
	margin  float64 // to the best type with another verdict
	exact   bool    // known from where it is, not weighed
	named   bool    // where is the name of a variable
	verdict verdict
	family  string
	tracked bool             // counted since the struct has a tracker
	sockets []*record.Socket // that the object is, or that point at it
	more    int              // further ones
	routes  []string
}

// A type that is weighed is believed from floor on, or from floorListed on if the
// table has it, and certain from sure on.
const (
	floor, floorListed, sure = 10, 4, 15
	sureMargin               = 5
)

func (o *object) certain() bool {
	return o.exact || !o.tracked && o.score >= sure && o.margin >= sureMargin
}

// identifier finds out what hits are in.
type identifier struct {
	*scorer
	table     *table
	known     []*Device // by address
	deviceAt  []candidate
	queueAt   []candidate
	nets      []uint64
	templates map[uint64]string // object to the field of struct net that points at it
	virtual   map[uint64]uint64 // page, in the mapping of memory as a whole, to where queues have it by vmalloc
	modules   map[uint64]uint64 // page, in the mapping of memory as a whole, to where modules have it
	devmaps   map[uint64]devmapEntry
	stacks    map[uint64]task // page, in the mapping of memory as a whole, to whose stack it is
}

func newIdentifier(k *Kernel, t *table, devices map[uint64]*Device) (*identifier, error) {
	nets, err := k.nets()
	if err != nil {
		return nil, err
	}
	id := &identifier{
		scorer: newScorer(k, devices), table: t, nets: nets, templates: make(map[uint64]string), virtual: make(map[uint64]uint64),
	}
	toDevice, toQueue := k.pointersTo("net_device"), k.pointersTo("netdev_queue")
	id.deviceAt = id.candidates(slices.Concat(toDevice, id.untypedSites(toDevice, toQueue)))
	id.queueAt = id.candidates(toQueue)
	for _, d := range devices {
		id.known = append(id.known, d)
		if !slices.Contains(id.nets, d.net) {
			id.nets = append(id.nets, d.net)
		}
		id.reach(d)
		id.mapQueues(d)
	}
	id.findDevmaps()
	slices.SortFunc(id.known, func(a, b *Device) int { return cmp.Compare(a.Addr, b.Addr) })
	for place := range t.places {
		if path, ok := strings.CutPrefix(place, "template:"); ok {
			for _, net := range id.nets {
				if v, ok := k.get(net, path); ok && v != 0 {
					id.templates[v] = place
				}
			}
		}
	}
	return id, nil
}

// identify finds out what a hit is in. queue is true when it points at a transmit
// queue of the device. Not ok when the memory is in use by nobody.
func (id *identifier) identify(hit memory.Hit, device *Device, queue bool) (*object, bool) {
	o := &object{hit: hit, device: device, queue: queue, start: hit.Addr &^ 7, size: 8}
	if id.inDevice(o) || id.inQueues(o) || id.inNet(o) {
		return o, true
	}
	switch hit.Class {
	case memory.SlabPage:
		slab, ok := id.memory.ObjectAt(hit.Addr)
		if !ok {
			return o, true
		}
		if slab.Free {
			return nil, false
		}
		o.start, o.size, o.cache = slab.Start, uint64(slab.Cache.ObjectSize), slab.Cache.Name
		id.inObject(o, slab.Cache, queue)
	case memory.KernelPage:
		page, err := id.memory.PageOf(hit.Addr)
		if err != nil {
			return nil, false
		}
		if t, ok := id.stackAt(hit.Addr); ok {
			o.where, o.exact, o.verdict, o.family = fmt.Sprintf("stack of thread %d (%s)", t.pid, t.comm), true, plain, "stack"
			return o, true
		}
		if name, ok := id.variableAt(hit.Addr); ok {
			o.where, o.named = name, true
			return o, true
		}
		o.start, o.cache = page.Start, "pages"
		if end, ok := id.memory.CompoundEnd(hit.Addr); ok {
			o.size = end - page.Start
		}
		id.inObject(o, nil, queue)
	case memory.ReservedPage:
		if at, ok := id.memory.Image(hit.Addr); ok {
			name, _, ok := id.symbol(at)
			o.where, o.named, o.start = name, ok, at
		}
	}
	return o, true
}

// inDevice handles what is in the memory of a device: this or another.
func (id *identifier) inDevice(o *object) bool {
	at, exact := slices.BinarySearchFunc(id.known, o.hit.Addr, func(d *Device, addr uint64) int { return cmp.Compare(d.Addr, addr) })
	if !exact {
		at--
	}
	if at < 0 || o.hit.Addr >= id.known[at].end {
		return false
	}
	d := id.known[at]
	o.inside, o.exact, o.start, o.size, o.base = d, true, d.Addr, d.end-d.Addr, d.Addr
	if o.hit.Addr < d.priv {
		o.verdict, o.family = plain, "own"
		o.typ, o.typed = id.types.Struct("net_device")
		o.where = id.path(o.typ, uint32(o.hit.Addr-d.Addr))
		return true
	}
	o.base = d.priv
	if o.typ, o.typed = id.typeAt("private:" + d.Kind); o.typed {
		id.rule(o)
	}
	if o.verdict != unknown {
		return true
	}
	place := "private:" + d.Kind
	if d == o.device {
		place = "self:" + d.Kind
		if _, ok := id.table.places[place]; !ok {
			place = "self:*"
		}
	}
	o.where = "driver's data of " + d.Name
	if r, ok := id.find(id.table, place, "", 0, d.Kind); ok {
		id.take(o, r)
	}
	return true
}

func (id *identifier) typeAt(place string) (structs.Type, bool) {
	name, ok := id.table.structs[place]
	if !ok {
		return structs.Type{}, false
	}
	return id.types.Struct(name)
}

// inQueues handles the arrays of a device's queues. They are known by where they are
// alone: an array of pointers to devices could be taken for queues by its fields.
func (id *identifier) inQueues(o *object) bool {
	at := o.hit.Addr
	if virtual, ok := id.virtual[at&^(memory.PageSize-1)]; ok {
		at = virtual + at%memory.PageSize
	}
	for _, d := range id.known {
		for _, q := range d.queues() {
			t, ok := id.types.Struct(q.name)
			size := uint64(id.types.Size(t))
			if offset := at - q.at; !ok || size == 0 || q.at == 0 || offset >= q.many*size {
				continue
			}
			o.typ, o.typed, o.exact, o.inside = t, true, true, d
			o.base = o.hit.Addr - (at-q.at)%size
			o.start, o.size = o.base, size
			id.rule(o)
			return true
		}
	}
	return false
}

func (id *identifier) inNet(o *object) bool {
	t, ok := id.types.Struct("net")
	if !ok {
		return false
	}
	addr := o.hit.Addr
	if image, ok := id.memory.Image(addr); ok {
		addr = image
	}
	for _, net := range id.nets {
		if addr-net < uint64(id.types.Size(t)) {
			o.typ, o.typed, o.exact, o.base, o.start = t, true, true, net, net
			o.where = id.path(t, uint32(addr-net))
			o.verdict, o.family = plain, "own"
			return true
		}
	}
	return false
}

// inObject handles an object that starts at o.start: of a slab cache, or of pages.
func (id *identifier) inObject(o *object, cache *memory.Cache, queue bool) {
	if id.inDevmap(o) {
		return
	}
	if place, ok := id.templates[o.start]; ok {
		o.exact, o.where = true, strings.TrimPrefix(place, "template:")
		if r, ok := id.find(id.table, place, "", 0, ""); ok {
			id.take(o, r)
			return
		}
	}
	for _, d := range id.known {
		if d.handler != o.start || d.handler == 0 {
			continue
		}
		function, _, _ := id.symbol(d.handlerOf)
		place := "handler:" + function
		o.inside, o.exact, o.where, o.base = d, true, "rx_handler_data of "+d.Name+", "+function, o.start
		if o.typ, o.typed = id.typeAt(place); o.typed {
			id.rule(o)
			return
		}
		if r, ok := id.find(id.table, place, "", 0, d.Kind); ok {
			id.take(o, r)
			return
		}
	}
	protocol, _ := id.socketAt(o.start)
	id.weighTypes(o, cache, queue, protocol)
	if o.typed || protocol == nil {
		return
	}
	o.base, o.where = o.start, "socket of protocol "+protocol.name
	o.exact = true
	if r, ok := id.find(id.table, "socket:"+protocol.name, "", 0, ""); ok {
		id.take(o, r)
	}
}
