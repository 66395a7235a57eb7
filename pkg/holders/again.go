// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/netns-trace/netns-trace/pkg/holders/memory"
)

// again reports whether a device whose references are not explained is to be searched
// for once more. Where they did not change, that is once: an object may have been
// replaced between two looks at the count, by one where the search had been already (a
// cached route is), and a reference may have had no object yet, in a system call.
func (s *search) again(d *Device, attempt int, doubted map[*Device]bool) bool {
	if s.options.Still {
		return false
	}
	if s.moved[d] {
		return attempt < s.options.Attempts
	}
	first := !doubted[d]
	doubted[d] = true
	return first
}

// watch notes which devices' references change. Their sum may be the same again by now:
// where references come and go it often is.
func (s *search) watch() {
	if s.options.Still {
		return
	}
	started := time.Now()
	s.memory.Forget()
	for _, d := range s.devices {
		now := *d
		if s.readCount(&now); !slices.Equal(now.counts, d.counts) {
			s.moved[d] = true
		}
	}
	s.watched = time.Now()
	s.watching = s.watched.Sub(started)
}

// lookAgain drops what is no longer there, and reads the devices' counts anew.
func (s *search) lookAgain(ctx context.Context, after time.Duration) error {
	if s.options.Still {
		return nil
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("searching memory: %w", ctx.Err())
	case <-time.After(after):
	}
	s.watch()
	for addr, d := range s.devices {
		if now, err := s.readDevice(addr); err == nil && now.State != Released && now.Ifindex == d.Ifindex && now.Netns == d.Netns {
			s.moved[d] = s.moved[d] || !slices.Equal(now.counts, d.counts)
			*d = *now
		} else {
			delete(s.devices, addr)
		}
	}
	still, unexplained := s.objects[:0], s.unexplained()
	for _, o := range s.objects {
		if unexplained[o.device] > 0 {
			s.weighAnew(o)
		}
		held := o.verdict == counted
		if s.isStill(o) {
			still = append(still, o)
		} else {
			s.free[o.device]++
			o.verdict = plain
		}
		s.moved[o.device] = s.moved[o.device] || held != (o.verdict == counted)
	}
	s.objects = still
	s.watch()
	return nil
}

// weighAnew finds out once more what an object is that was not recognised: it, or what it
// points at, may have been in the making. A pointer that was there both times moved
// nothing.
func (s *search) weighAnew(o *object) {
	if o.typed || o.exact || o.verdict != unknown {
		return
	}
	if now, ok := s.id.identify(o.hit, o.device, o.queue); ok {
		now.sockets, now.more, now.routes = o.sockets, o.more, o.routes
		*o = *now
	}
}

// isStill reports whether an object is in use and points where it did, and notes
// whether that is a reference still.
func (s *search) isStill(o *object) bool {
	v, err := s.memory.Uint64(o.hit.Addr)
	if err != nil || v != o.device.Addr && !o.device.hasQueue(v, s.size("netdev_queue")) {
		return false
	}
	if o.hit.Class == memory.SlabPage {
		if slab, ok := s.memory.ObjectAt(o.hit.Addr); ok && slab.Free {
			return false
		}
	}
	if o.typed && (o.verdict == counted || !o.exact) {
		s.id.rule(o) // it may have come to its end, or just been made
	}
	return true
}

// hasQueue reports whether one of the device's transmit queues is at an address.
func (d *Device) hasQueue(addr, size uint64) bool {
	return addr == d.ingress || size > 0 && addr-d.tx < d.txCount*size
}
