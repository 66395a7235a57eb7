// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/netns-trace/netns-trace/pkg/holders/memory"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// Options are how to search.
type Options struct {
	BytesPerSecond uint64 // at most so many are read; 0: as fast as it goes
	// Progress, if not nil, is called now and then: pass counts from 1.
	Progress func(pass int, done, total uint64)
	// Now is the time of records, in ns of CLOCK_MONOTONIC.
	Now func() uint64
	// Settle is how long after the search everything that was found is looked at once
	// more: what only passed by is gone by then.
	Settle time.Duration
	// Attempts is how often a device is searched for whose references are not explained
	// and changed meanwhile; 0 is once.
	Attempts int
	// Still says that the memory does not change: nothing is looked at twice.
	Still bool
}

// maxHits bounds what is kept of what was found: 24 bytes each.
const maxHits = 1 << 18

// target is a word to be looked for: a device, or a transmit queue of it.
type target struct {
	device *Device
	queue  bool
}

// Search looks through the kernel's memory for all that points at the devices, and
// emits a [record.HeldObject] for each object and then a [record.HolderSearch] for each
// device. A device that is freed meanwhile has none. others are devices that are known
// beside them: what is in their memory is told by it. A device of which references are
// left over, or objects too many, is searched for twice before that is told.
func (k *Kernel) Search(ctx context.Context, devices, others []*Device, o Options, emit func(record.Record)) error {
	t, err := newTable(referencesText)
	if err != nil {
		return err
	}
	passes := 0
	doubted := make(map[*Device]bool)
	for attempt := 1; len(devices) > 0; attempt++ {
		s := search{Kernel: k, options: o, table: t, devices: make(map[uint64]*Device), passes: passes}
		for _, d := range append(append([]*Device{}, others...), devices...) {
			s.devices[d.Addr] = d
		}
		if err := s.look(ctx, devices); err != nil {
			return err
		}
		var again []*Device
		unexplained := s.unexplained()
		for _, d := range devices {
			if s.devices[d.Addr] == nil || unexplained[d] == 0 || !s.again(d, attempt, doubted) {
				s.tell(d, emit)
				continue
			}
			again = append(again, d)
		}
		others, devices, passes = append(others, devices...), again, s.passes
	}
	return nil
}

// search is the state of one search.
type search struct {
	*Kernel
	options Options
	table   *table
	id      *identifier
	devices map[uint64]*Device
	objects []*object
	free    map[*Device]int
	moved   map[*Device]bool // references were taken or dropped meanwhile
	watched time.Time        // when that was looked at last
	stats   memory.Stats
	sockets map[uint64]*record.Socket
	passes  int

	watching time.Duration // how long a look at all counts took
}

func (s *search) look(ctx context.Context, devices []*Device) error {
	s.moved = make(map[*Device]bool)
	if err := s.findPointers(ctx, devices); err != nil {
		return err
	}
	if err := s.lookAgain(ctx, s.options.Settle); err != nil {
		return err
	}
	if err := s.findPointersToObjects(ctx); err != nil {
		return err
	}
	if err := s.findReaders(); err != nil {
		return fmt.Errorf("looking for the readers of queued packets: %w", err)
	}
	if err := s.lookAgain(ctx, 0); err != nil {
		return err
	}
	if err := s.findOwners(s.sockets); err != nil {
		return fmt.Errorf("looking for the processes of sockets: %w", err)
	}
	return nil
}

func (s *search) scan(ctx context.Context, words []uint64) ([]memory.Hit, error) {
	s.passes++
	limits := memory.Limits{BytesPerSecond: s.options.BytesPerSecond, MaxHits: maxHits}
	limits.Progress = func(done, total uint64) {
		// One part of the time in twenty: machines have many devices and processors.
		if time.Since(s.watched) >= 20*s.watching {
			s.watch()
		}
		if s.options.Progress != nil {
			s.options.Progress(s.passes, done, total)
		}
	}
	hits, stats, err := s.memory.Scan(ctx, memory.NewTargets(words), limits)
	s.stats.Add(stats)
	s.memory.Forget()
	return hits, err
}

// findPointers finds what points at the devices, and what that is.
func (s *search) findPointers(ctx context.Context, devices []*Device) error {
	var words []uint64
	var targets []target
	queueSize := s.size("netdev_queue")
	for _, d := range devices {
		words, targets = append(words, d.Addr), append(targets, target{d, false})
		for i := range d.txCount {
			words, targets = append(words, d.tx+i*queueSize), append(targets, target{d, true})
		}
		if d.ingress != 0 {
			words, targets = append(words, d.ingress), append(targets, target{d, true})
		}
	}
	hits, err := s.scan(ctx, words)
	if err != nil {
		return err
	}
	// What was made meanwhile points at what was there.
	if made, err := s.Devices(); err == nil {
		for _, d := range made {
			if s.devices[d.Addr] == nil {
				s.devices[d.Addr] = d
			}
		}
	}
	if s.id, err = newIdentifier(s.Kernel, s.table, s.devices); err != nil {
		return fmt.Errorf("preparing to name what was found: %w", err)
	}
	s.free = make(map[*Device]int)
	for _, hit := range hits {
		to := targets[hit.Target]
		if o, ok := s.id.identify(hit, to.device, to.queue); ok {
			s.objects = append(s.objects, o)
		} else {
			s.free[to.device]++
		}
	}
	return nil
}

// findPointersToObjects finds what points at the objects that hold a device which
// waits, where that is what a person has to know: the socket of a private struct of
// its protocol, the route of a nexthop, the socket of a route.
func (s *search) findPointersToObjects(ctx context.Context) error {
	s.sockets = make(map[uint64]*record.Socket)
	unexplained := s.unexplained()
	var words []uint64
	var to []*object
	for _, o := range s.objects {
		if sock, ok := s.socket(o.start); ok && o.verdict != plain {
			s.add(o, o.start, sock)
			continue
		}
		if o.device.State == Unregistered && (o.verdict != unknown || unexplained[o.device] > 0) && o.worthFollowing() {
			words, to = append(words, o.start), append(to, o)
		}
	}
	if len(words) == 0 {
		return nil
	}
	hits, err := s.scan(ctx, words)
	if err != nil {
		return err
	}
	alias, okAlias := s.field("fib_alias.fa_info")
	for _, hit := range hits {
		o := to[hit.Target]
		slab, ok := s.memory.ObjectAt(hit.Addr)
		if !ok || slab.Free || slab.Start == o.start {
			continue
		}
		if sock, ok := s.socket(slab.Start); ok {
			s.add(o, slab.Start, sock)
			continue
		}
		if o.family == "nexthop" && okAlias {
			if route, ok := s.id.routeOf(hit.Addr - uint64(alias.Offset)); ok {
				o.routes = append(o.routes, route)
			}
		}
	}
	return nil
}

// unexplained is how many references of each device no object explains so far.
func (s *search) unexplained() map[*Device]int32 {
	left := make(map[*Device]int32)
	for _, d := range s.devices {
		own, _ := s.own(d)
		left[d] = d.Count - own - int32(len(s.selves(s.table, d.Addr)))
	}
	for _, o := range s.objects {
		if o.verdict == counted {
			left[o.device]--
		}
	}
	return left
}

// maxSockets is how many sockets of an object are told; more are counted.
const maxSockets = 8

// add notes that a struct sock is an object, or points at it.
func (s *search) add(o *object, at uint64, sock *record.Socket) {
	if known := s.sockets[at]; known != nil {
		sock = known
	}
	switch {
	case slices.Contains(o.sockets, sock):
	case len(o.sockets) == maxSockets:
		o.more++
	default:
		s.sockets[at] = sock
		o.sockets = append(o.sockets, sock)
	}
}

// worthFollowing reports whether what points at an object says more than the object.
func (o *object) worthFollowing() bool {
	switch {
	case o.verdict == unknown:
		return o.hit.Class == memory.SlabPage
	case o.verdict == plain, o.inside != nil:
		return false
	}
	switch o.family {
	case "neighbour", "neigh_parms", "proxy_neighbour", "qdisc", "adjacent_device", "in_device", "inet6_dev":
		return false
	}
	return true
}

// tell emits what was found of a device.
func (s *search) tell(d *Device, emit func(record.Record)) {
	if s.devices[d.Addr] == nil {
		return
	}
	now := record.Time(s.options.Now())
	end := &record.HolderSearch{
		Time: now, Dev: d.Addr, Name: d.Name, Ifindex: d.Ifindex, Netns: d.Netns, Kind: d.Kind,
		State: d.State.String(), Waiting: d.State == Unregistered,
		Usage: d.Count, UsageKnown: d.CountKnown, Moved: s.moved[d],
		Free: s.free[d], Bytes: s.stats.Bytes, Pages: s.stats.Read(), Vanished: s.stats.Vanished, NotSaved: s.stats.NotSaved, Dropped: s.stats.Dropped,
		TookNS: uint64(s.stats.Took), Untyped: s.untyped,
	}
	end.Own, end.OwnKnown = s.own(d)
	for _, o := range s.objects {
		switch {
		case o.device != d:
		case o.verdict == plain:
			end.Plain++
		default:
			if o.verdict == unknown {
				end.Unknown++
			}
			r := s.describe(o)
			r.Time = now
			emit(r)
		}
	}
	for _, family := range s.selves(s.table, d.Addr) {
		emit(&record.HeldObject{
			Time: now, Dev: d.Addr, Object: d.Addr, Field: "net_device", Family: family,
			Means: record.PointerCounted, Certain: true, Reason: "the device says so itself",
		})
	}
	if tracker, err := s.tracked(d); err == nil {
		tracker.Time = now
		emit(tracker)
	}
	emit(end)
}

// describe makes a record of an object.
func (s *search) describe(o *object) *record.HeldObject {
	r := &record.HeldObject{
		Dev: o.device.Addr, Object: o.start, Field: o.where, Cache: o.cache, Family: o.family,
		Certain: o.certain(), SocketsMore: o.more,
	}
	for _, sock := range o.sockets {
		r.Sockets = append(r.Sockets, *sock)
	}
	switch {
	case o.verdict == counted:
		r.Means = record.PointerCounted
	case len(o.sockets) > 0:
		// Nothing is known of the struct, but that sockets point at it, or are it.
		r.Means, r.Family, r.Certain = record.PointerCounted, "socket", false
	}
	if r.Field == "" || !o.typed && !o.exact && !o.named {
		r.Field = fmt.Sprintf("+%#x", o.hit.Addr-o.start)
	}
	r.Reason = o.reason()
	s.id.follow(o, r)
	for _, route := range o.routes {
		r.Facts = append(r.Facts, record.HeldFact{Name: "route", Value: route})
	}
	return r
}

func (o *object) reason() string {
	switch {
	case o.exact:
		return "known by where it is"
	case o.typed && o.tracked:
		return fmt.Sprintf("its fields are those of the type (weight %.0f), which has a tracker for the reference", o.score)
	case o.typed:
		return fmt.Sprintf("its fields are those of the type (weight %.0f)", o.score)
	}
	if o.named {
		return "a variable"
	}
	if len(o.sockets) > 0 {
		return "its type is not known; a socket points at it"
	}
	return "its type is not known"
}

// own is how many references a device has of itself: from 5.13 on one until it is
// freed, and one while it is registered.
func (s *search) own(d *Device) (int32, bool) {
	base, ok := s.refcountBase()
	if d.State == Registered {
		base++
	}
	return base, ok
}
