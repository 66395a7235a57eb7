// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Hit is a word that was looked for.
type Hit struct {
	Addr   uint64 // of the word, in the mapping of memory as a whole
	Target int
	Class  PageClass
}

// Stats is what a scan went through.
type Stats struct {
	Pages    [pageClasses]uint64 // by class; those not read too
	Bytes    uint64              // read and searched
	Vanished uint64              // pages that could not be read
	NotSaved uint64              // pages that were to be searched, and are not in what was saved
	Dropped  uint64              // hits beyond the most that are kept
	Took     time.Duration
}

// Read is how many pages were read and searched.
func (s *Stats) Read() uint64 { return s.Bytes / PageSize }

// Add adds what another scan went through.
func (s *Stats) Add(o Stats) {
	for c, n := range o.Pages {
		s.Pages[c] += n
	}
	s.Bytes += o.Bytes
	s.Vanished += o.Vanished
	s.NotSaved = max(s.NotSaved, o.NotSaved) // they are the same each time
	s.Dropped += o.Dropped
	s.Took += o.Took
}

// Limits bound what a scan does.
type Limits struct {
	BytesPerSecond uint64 // 0: as fast as it goes
	MaxHits        int
	// Progress, if not nil, is called now and then with how much of the memory is
	// done.
	Progress func(done, total uint64)
}

const (
	metaPages = 16384   // whose struct pages are read at once: 1 MiB
	readAtMax = 1 << 20 // of memory at once
	maxRuns   = metaPages
)

// Pattern is what to look for.
type Pattern interface {
	// Find calls see with the offset of each place in b that fits, and the number of
	// what is there. b is memory from start on, a multiple of 8 bytes.
	Find(b []byte, start uint64, see func(offset, target int))
}

// Scan looks for a pattern in every page that can have the kernel's objects in it. The
// order is that of memory.
func (m *Memory) Scan(ctx context.Context, pattern Pattern, limits Limits) ([]Hit, Stats, error) {
	s := scan{
		memory: m, pattern: pattern, limits: limits, started: time.Now(),
		meta: make([]byte, metaPages*m.page.size), buffer: make([]byte, readAtMax),
		head: make([]byte, m.page.size),
	}
	var done uint64
	total := m.Size()
	for _, segment := range m.ram {
		for offset := uint64(0); offset < segment.Size; offset += metaPages * PageSize {
			if err := ctx.Err(); err != nil {
				return s.hits, s.stats, fmt.Errorf("searching memory: %w", err)
			}
			start := segment.Addr + offset
			size := min(metaPages*PageSize, segment.Size-offset)
			if err := s.part(ctx, start, size/PageSize); err != nil {
				return s.hits, s.stats, err
			}
			done += size
			if limits.Progress != nil {
				limits.Progress(done, total)
			}
		}
	}
	s.stats.Took = time.Since(s.started)
	// What was read is not kept: it has the words that were looked for.
	clear(s.buffer)
	return s.hits, s.stats, nil
}

type scan struct {
	memory  *Memory
	pattern Pattern
	limits  Limits
	started time.Time
	meta    []byte // struct pages
	buffer  []byte
	head    []byte // a struct page outside meta
	headAt  uint64
	hits    []Hit
	stats   Stats
}

// part goes through n pages from start on.
func (s *scan) part(ctx context.Context, start, n uint64) error {
	m := s.memory
	first := m.pageAt(start)
	meta := s.meta[:n*m.page.size]
	if err := m.reader.Read(meta, first); err != nil {
		// A hole in the struct pages may begin anywhere: halve until it is found.
		if n == 1 {
			s.missing(err)
			return nil
		}
		if err := s.part(ctx, start, n/2); err != nil {
			return err
		}
		return s.part(ctx, start+n/2*PageSize, n-n/2)
	}
	runStart, runClass := uint64(0), FreePage
	for i := range n {
		class := s.class(meta[i*m.page.size:][:m.page.size], first+i*m.page.size, first, meta)
		s.stats.Pages[class]++
		if class == runClass && (i-runStart)*PageSize < readAtMax {
			continue
		}
		if err := s.run(ctx, start+runStart*PageSize, (i-runStart)*PageSize, runClass); err != nil {
			return err
		}
		runStart, runClass = i, class
	}
	return s.run(ctx, start+runStart*PageSize, (n-runStart)*PageSize, runClass)
}

// class is that of a page, for a tail that of its compound page's head.
func (s *scan) class(page []byte, at, first uint64, meta []byte) PageClass {
	l := &s.memory.page
	head := l.headOf(page, at)
	switch {
	case head == at:
	case head >= first && head-first < uint64(len(meta)):
		page = meta[head-first:][:l.size]
	default:
		if s.headAt != head {
			if s.memory.reader.Read(s.head, head) != nil {
				return FreePage
			}
			s.headAt = head
		}
		page = s.head
	}
	return l.classOf(page)
}

// run reads pages of one class that lie together, and looks through them.
func (s *scan) run(ctx context.Context, start, size uint64, class PageClass) error {
	if size == 0 || !class.Worth() {
		return nil
	}
	b := s.buffer[:size]
	if err := s.memory.reader.Read(b, start); err != nil {
		if size == PageSize {
			s.missing(err)
			return nil
		}
		half := size / 2 &^ (PageSize - 1)
		if err := s.run(ctx, start, half, class); err != nil {
			return err
		}
		return s.run(ctx, start+half, size-half, class)
	}
	s.stats.Bytes += size
	s.pattern.Find(b, start, func(offset, target int) {
		if len(s.hits) >= s.limits.MaxHits {
			s.stats.Dropped++
			return
		}
		s.hits = append(s.hits, Hit{start + uint64(offset), target, class})
	})
	return s.pace(ctx)
}

// missing counts a page that could not be read.
func (s *scan) missing(err error) {
	if errors.Is(err, ErrNotSaved) {
		s.stats.NotSaved++
	} else {
		s.stats.Vanished++
	}
}

// pace waits until no more has been read than may be.
func (s *scan) pace(ctx context.Context) error {
	if s.limits.BytesPerSecond == 0 {
		return nil
	}
	due := time.Duration(float64(s.stats.Bytes) / float64(s.limits.BytesPerSecond) * float64(time.Second))
	ahead := due - time.Since(s.started)
	if ahead < time.Millisecond {
		return nil
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("searching memory: %w", ctx.Err())
	case <-time.After(ahead):
		return nil
	}
}
