// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// course says when searches begin for a device that waits from second 0 on, which the
// kernel speaks of every second until it is silent, for a search that takes ten seconds.
func course(s *searches, silent, end int) (begun []int) {
	start := time.Unix(1000, 0)
	for second := range end {
		now := start.Add(time.Duration(second) * time.Second)
		if second < silent {
			s.observe(&record.DevWait{Dev: 1, Ifindex: 3}, now)
		}
		if s.running && second == begun[len(begun)-1]+10 {
			s.results <- searchResult{devices: []uint64{1}}
			s.end(now)
		}
		if len(s.due(now)) > 0 {
			begun = append(begun, second)
			s.running, s.results, s.cancel = true, make(chan searchResult, 1), func() {}
		}
	}
	return begun
}

func TestADeviceIsSearchedForLessAndLess(t *testing.T) {
	if got, want := course(new(searches), 600, 600), []int{5, 75, 205, 455}; !slices.Equal(got, want) {
		t.Errorf("searches begin at %v, want %v", got, want)
	}
	// Where the end is not seen, silence is taken for it.
	if got, want := course(new(searches), 20, 600), []int{5, 75}; !slices.Equal(got, want) {
		t.Errorf("searches begin at %v, want %v", got, want)
	}
	if got := course(new(searches), 86400, 86400); len(got) > 32 {
		t.Errorf("%d searches in a day", len(got))
	}
}

func TestWhatIsSearchedFor(t *testing.T) {
	now := time.Unix(1000, 0)
	var s searches
	for dev := range uint64(100) {
		s.observe(&record.DevWait{Dev: dev, Ifindex: 3}, now.Add(time.Duration(dev)*time.Millisecond))
	}
	s.observe(&record.DevFree{Dev: 7}, now)
	got := s.due(now.Add(SearchAfter + time.Second))
	if len(got) != searchedAtOnce || got[0] != 0 || slices.Contains(got, 7) {
		t.Errorf("%d devices at once, first %d: %v", len(got), got[0], got)
	}
	// One that is new at an address has not waited yet.
	s.observe(&record.DevWait{Dev: 1, Ifindex: 4}, now.Add(SearchAfter))
	if got := s.due(now.Add(SearchAfter + time.Second)); slices.Contains(got, 1) {
		t.Error("a device is searched for that has just begun to wait")
	}
	// The next search, of whatever, has to wait.
	s.ended = now.Add(time.Hour)
	if got := s.due(s.ended.Add(SearchRest - time.Second)); len(got) > 0 {
		t.Errorf("%d devices are searched for right after another search", len(got))
	}
}

// A search that is under way must not keep tracing from ending.
func TestASearchIsStopped(t *testing.T) {
	var s searches
	started := make(chan struct{})
	s.begin(t.Context(), func(ctx context.Context, _ []uint64, emit func(record.Record)) error {
		emit(&record.HeldObject{Dev: 1})
		close(started)
		<-ctx.Done()
		return ctx.Err()
	}, []uint64{1})
	<-started
	if _, ok := s.end(time.Now()); ok {
		t.Error("it has ended already")
	}
	s.stop()
	if result := <-s.results; !errors.Is(result.err, context.Canceled) || len(result.found) != 1 {
		t.Errorf("stopped: %v, %d found", result.err, len(result.found))
	}
	s.stop() // nothing is under way
}

func TestWhatASearchTakesIsKnownMeanwhile(t *testing.T) {
	var s searches
	spin, spun := make(chan struct{}), make(chan struct{})
	s.begin(t.Context(), func(context.Context, []uint64, func(record.Record)) error {
		for begun := threadTime(s.spent.tid); threadTime(s.spent.tid)-begun < 20*time.Millisecond; {
			_ = begun
		}
		close(spun)
		<-spin
		return nil
	}, nil)
	<-spun
	meanwhile := s.spent.total()
	close(spin)
	s.worker.Wait()
	if end := s.spent.total(); meanwhile < 20*time.Millisecond || end < meanwhile || end > meanwhile+time.Second {
		t.Errorf("%s meanwhile, %s at the end", meanwhile, end)
	}
}
