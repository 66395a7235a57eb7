// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// MemorySearch searches the kernel's memory for what holds the devices at these
// addresses, and emits what a [record.HolderSearch] of each has; none of one that no
// longer waits.
type MemorySearch func(ctx context.Context, devices []uint64, emit func(record.Record)) error

const (
	// SearchAfter is how long a device has to wait until memory is searched: most
	// references that are given back late are so within a second or two.
	SearchAfter = 5 * time.Second
	// SearchRest is the least time between two searches. The same device is searched for
	// again after that time, then twice of it and so on, up to searchSeldom.
	SearchRest   = time.Minute
	searchSeldom = time.Hour

	searchedAtOnce = 64   // devices in one search
	searchesMax    = 4096 // devices that are remembered to wait
	foundMax       = 1 << 16
	// searchForget is how long the kernel has to be silent about a device to be not
	// searched for: it speaks of it every second.
	searchForget = time.Minute
)

// searches says when memory is to be searched, and searches it beside all else: that
// takes longer than the ring buffer may go unread.
type searches struct {
	waiting map[uint64]*searched
	ended   time.Time // the last search; zero: there was none

	running bool
	failed  uint64
	spent   threadTimes
	cancel  context.CancelFunc
	results chan searchResult
	worker  sync.WaitGroup
}

// searched is a device that waits.
type searched struct {
	ifindex   int32
	seen, due time.Time
	rest      time.Duration // after the next search
}

type searchResult struct {
	devices []uint64
	found   []record.Record
	err     error
}

func (s *searches) observe(rec record.Record, now time.Time) {
	switch r := rec.(type) {
	case *record.DevWait:
		d := s.waiting[r.Dev]
		if d == nil || d.ifindex != r.Ifindex {
			if s.waiting == nil || len(s.waiting) >= searchesMax {
				s.waiting = make(map[uint64]*searched)
			}
			d = &searched{ifindex: r.Ifindex, due: now.Add(SearchAfter), rest: SearchRest}
			s.waiting[r.Dev] = d
		}
		d.seen = now
	case *record.DevFree:
		delete(s.waiting, r.Dev)
	}
}

// due are the devices that memory is to be searched for now, those that wait for it
// longest first.
func (s *searches) due(now time.Time) []uint64 {
	if s.running || !s.ended.IsZero() && now.Sub(s.ended) < SearchRest {
		return nil
	}
	var list []uint64
	for _, dev := range slices.SortedFunc(maps.Keys(s.waiting), func(a, b uint64) int {
		return cmp.Or(s.waiting[a].due.Compare(s.waiting[b].due), cmp.Compare(a, b))
	}) {
		switch d := s.waiting[dev]; {
		case now.Sub(d.seen) >= searchForget:
			delete(s.waiting, dev)
		case !now.Before(d.due) && len(list) < searchedAtOnce:
			list = append(list, dev)
		}
	}
	return list
}

// begin searches for the devices.
func (s *searches) begin(ctx context.Context, search MemorySearch, devices []uint64) {
	ctx, s.cancel = context.WithCancel(ctx)
	s.running, s.results = true, make(chan searchResult, 1)
	s.worker.Go(func() {
		defer s.spent.begin()()
		result := searchResult{devices: devices}
		dropped := make(map[uint64]uint64)
		result.err = search(ctx, devices, func(rec record.Record) {
			switch r := rec.(type) {
			case *record.HeldObject:
				if len(result.found) >= foundMax {
					dropped[r.Dev]++
					return
				}
			case *record.HolderSearch:
				r.Dropped += dropped[r.Dev]
			}
			result.found = append(result.found, rec)
		})
		s.results <- result
	})
}

// end takes in what came of a search, if it has ended.
func (s *searches) end(now time.Time) (result searchResult, ok bool) {
	if !s.running {
		return searchResult{}, false
	}
	select {
	case result = <-s.results:
	default:
		return searchResult{}, false
	}
	s.cancel()
	s.running, s.ended = false, now
	for _, dev := range result.devices {
		if d := s.waiting[dev]; d != nil {
			d.due, d.rest = now.Add(d.rest), min(2*d.rest, searchSeldom)
		}
	}
	return result, true
}

// stop ends a search that is under way, and waits for it.
func (s *searches) stop() {
	if s.running {
		s.cancel()
	}
	s.worker.Wait()
	s.running = false
}

// lookAtSearches feeds what a search has found, and begins one that is due.
func (l *Live) lookAtSearches(ctx context.Context) {
	if l.Search == nil {
		return
	}
	now := time.Now()
	if result, ok := l.searches.end(now); ok {
		for _, rec := range result.found {
			l.feed(rec)
		}
		if result.err != nil && ctx.Err() == nil {
			l.searches.failed++
			l.Lose(&record.Loss{Detector: probe.DetectorRefs, Cause: "search_failed", Count: l.searches.failed})
			if l.Unsearched != nil {
				l.Unsearched(result.err)
			}
		}
	}
	if devices := l.searches.due(now); len(devices) > 0 {
		l.searches.begin(ctx, l.Search, devices)
	}
}

// SearchCPU is how much CPU time searches of memory have taken.
func (l *Live) SearchCPU() time.Duration { return l.searches.spent.total() }
