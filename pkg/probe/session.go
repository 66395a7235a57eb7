// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/textprobe"
)

// The detectors that have programs.
const (
	DetectorRefs    = "refs"
	DetectorThreads = "threads"
	DetectorCsum    = "csum"
	DetectorDst     = "dst"
)

// Detectors lists them, in the order in which they are attached.
func Detectors() []string { return []string{DetectorThreads, DetectorRefs, DetectorCsum, DetectorDst} }

// Kernel is what has to be known of the running kernel.
type Kernel struct {
	Types *kernel.Types
	// Symbols gives the kernel's symbols, or nil when it hides them: no kprobes
	// then. It is asked only where they are needed, since they take long to read.
	Symbols func() *kernel.Symbols
	// Reload reads them again, after a module was loaded.
	Reload func() *kernel.Symbols
}

// Options says what to attach.
type Options struct {
	Detectors []string
	// Required are those of Detectors without which nothing shall be attached; any
	// other is left out if it cannot work on this kernel.
	Required  []string
	Names     bool   // see Names
	Avoid     []Kind // ways not to take
	RingBytes int    // size of the ring buffer: a power of two, at least a page
	// TableBytes is how much memory the kernel's tables may take, the ring included: the
	// large ones are halved until they do. 0: they have their full room.
	TableBytes uint64
	// Reaper, if not nil, is that of sessions one after another, and takes off after this
	// process's end what the kernel takes long to take off.
	Reaper  *textprobe.Reaper
	Threads ThreadsOptions
	Refs    RefsOptions
	Csum    CsumOptions
}

// Session is the programs at work in the kernel. Nothing is pinned: all of it goes
// with the process, whatever ends it.
type Session struct {
	detectors []string // that have objects
	leftOut   Plan     // why the others have none
	objects   map[string]*object
	ledger    *ledger // nil: none is kept
	ring      *ebpf.Map
	reader    *ringbuf.Reader
	rec       ringbuf.Record
	kernel    Kernel
	avoid     []Kind
	reaper    *textprobe.Reaper
	homeGiven bool
	halvings  int // of the large tables
}

// Open loads and attaches. If a required detector cannot work on this kernel, or
// none can, the error is an *UnseenError, or several joined. The session must be
// closed.
func Open(ctx context.Context, k Kernel, o Options) (*Session, error) {
	s := &Session{objects: make(map[string]*object), kernel: k, avoid: o.Avoid, reaper: o.Reaper, homeGiven: o.Threads.HomeInode != 0}
	if err := s.open(ctx, k, o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Session) open(ctx context.Context, k Kernel, o Options) error {
	halvings, err := o.halvingsFor(k)
	if err != nil {
		return err
	}
	s.halvings = halvings
	ring, err := ebpf.NewMap(&ebpf.MapSpec{Name: "ring", Type: ebpf.RingBuf, MaxEntries: uint32(o.RingBytes)})
	if err != nil {
		return fmt.Errorf("making a ring buffer of %d bytes: %w", o.RingBytes, err)
	}
	s.ring = ring
	if s.reader, err = ringbuf.NewReader(ring); err != nil {
		return fmt.Errorf("reading the ring buffer: %w", err)
	}
	if o.Names {
		// First, so that no module is loaded unseen before its functions are looked for.
		s.addNames(ctx, k, o)
	}
	var without []error
	for _, detector := range o.Detectors {
		err := s.add(ctx, detector, k, o)
		unseen, ok := errors.AsType[*UnseenError](err)
		switch {
		case ok && !slices.Contains(o.Required, detector):
			without = append(without, unseen)
			s.leftOut = append(s.leftOut, unseen.Outcome)
		case err != nil:
			return err
		}
	}
	if len(s.detectors) == 0 {
		return errors.Join(without...)
	}
	if s.objects[DetectorRefs] != nil && !o.Refs.Ledger.Off {
		if err := s.addLedger(ctx, k, o); err != nil {
			return err
		}
	}
	if s.reaper != nil {
		_ = s.reaper.Start() // without it an end takes longer
	}
	return ctx.Err()
}

// addNames adds what is never required: whatever stands in its way is told as a thing
// that is not seen.
func (s *Session) addNames(ctx context.Context, k Kernel, o Options) {
	if err := s.add(ctx, Names, k, o); err != nil {
		p := namesPoints[0]
		s.leftOut = append(s.leftOut, Outcome{
			Detector: Names, Thing: p.thing, Lost: p.lost, Refused: []Refusal{{Way: p.ways[0], Reason: reason(err)}},
		})
	}
}

// add puts one detector's programs to work, all or none.
func (s *Session) add(ctx context.Context, detector string, k Kernel, o Options) error {
	set, err := setOf(detector, k, o)
	if err != nil {
		return err
	}
	set.halvings = s.halvings
	obj, err := set.load(ctx, k, s.ring, o.Avoid)
	if err != nil {
		if obj != nil {
			err = errors.Join(err, obj.Close())
		}
		return err
	}
	s.objects[detector] = obj
	if detector != Names {
		s.detectors = append(s.detectors, detector)
	}
	return nil
}

// parts are the detectors at work, and what works beside them.
func (s *Session) parts() []string {
	parts := slices.Clone(s.detectors)
	for _, beside := range []string{partLedger, Names} {
		if s.objects[beside] != nil {
			parts = append(parts, beside)
		}
	}
	return parts
}

// setOf is what belongs to one detector.
func setOf(detector string, k Kernel, o Options) (*set, error) {
	switch detector {
	case DetectorThreads:
		return &set{
			detector: detector, spec: loadThreads, points: threadsPoints,
			configure: o.Threads.configure,
			attached:  func(maps map[string]*ebpf.Map) error { return o.Threads.name(maps[threadsMapHomes]) },
		}, nil
	case DetectorRefs:
		return &set{
			detector: detector, spec: loadRefs, points: o.Refs.points(),
			configure: func(spec *ebpf.CollectionSpec) error { return o.Refs.configure(spec, k) },
		}, nil
	case DetectorCsum:
		return &set{
			detector: detector, spec: loadCsum, points: csumPoints,
			configure: func(spec *ebpf.CollectionSpec) error { return o.Csum.configure(spec, k) },
		}, nil
	case Names:
		return &set{
			detector: detector, spec: loadNames, points: namesPoints,
			configure: configureNames,
		}, nil
	case DetectorDst:
		return &set{
			detector: detector, spec: loadDst, points: dstPoints,
			configure: func(spec *ebpf.CollectionSpec) error { return configureDst(spec, k) },
		}, nil
	}
	return nil, fmt.Errorf("no programs for a detector %q", detector)
}

// Detectors lists those that are at work: all but what had to be left out.
func (s *Session) Detectors() []string { return slices.Clone(s.detectors) }

// Plan is how each thing is seen on this kernel, and last what kept a detector from
// being at work.
func (s *Session) Plan() Plan {
	var plan Plan
	for _, detector := range s.parts() {
		plan = append(plan, s.objects[detector].plan...)
	}
	return append(plan, s.leftOut...)
}

// ModuleLoaded attaches to the functions of a kernel module that has just been
// loaded, for the first time or again, and returns what came of it. The module tells
// of itself before it is live: it is given a moment.
func (s *Session) ModuleLoaded(ctx context.Context, module string) []Outcome {
	if !slices.ContainsFunc(s.detectors, func(d string) bool { return s.objects[d].concerns(module) }) {
		return nil
	}
	k := s.kernel
	k.Symbols = sync.OnceValue(s.kernel.Reload)
	ask := asker{kernel: k, avoid: s.avoid}
	for range 100 {
		var out []Outcome
		for _, detector := range s.detectors {
			out = append(out, s.objects[detector].moduleLoaded(module, ask)...)
		}
		if len(out) > 0 {
			return out
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// Scan goes through the threads that live already. What it finds comes out of the
// ring buffer like everything else: threads that are away and were not known to be. And
// AwayThreads no longer has those whose end or way home was missed.
func (s *Session) Scan() error {
	o := s.objects[DetectorThreads]
	if o == nil || o.iterators[threadsProgScanIter] == nil {
		return nil
	}
	began := uint64(now())
	if err := runIterator(o.iterators[threadsProgScanIter]); err != nil {
		return fmt.Errorf("looking at the threads that live already: %w", err)
	}
	// The kernel shows the threads of this process's pid namespace.
	if all, err := kernel.InInitPIDNamespace(); err != nil || !all {
		return nil
	}
	if err := o.changeMoves(func(state *movesState) { state.Scanned = began }); err != nil {
		return fmt.Errorf("telling which threads live: %w", err)
	}
	return nil
}

func runIterator(it *link.Iter) error {
	f, err := it.Open()
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, f)
	return errors.Join(err, f.Close())
}

// ErrTimeout is returned by Read when there was nothing to read.
var ErrTimeout = errors.New("no record in time")

// Read waits for the next record, until the deadline if it is not zero. The bytes
// are valid until the next call. Interrupt ends a wait with ErrTimeout.
func (s *Session) Read(deadline time.Time) ([]byte, error) {
	s.reader.SetDeadline(deadline)
	err := s.reader.ReadInto(&s.rec)
	switch {
	case err == nil:
		return s.rec.RawSample, nil
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, ringbuf.ErrFlushed):
		return nil, ErrTimeout
	}
	return nil, fmt.Errorf("reading the ring buffer: %w", err)
}

// Interrupt makes a Read that waits return. It may be called from any goroutine.
func (s *Session) Interrupt() error { return s.reader.Flush() }

// Pending is how many bytes of records wait to be read.
func (s *Session) Pending() int { return s.reader.AvailableBytes() }

// Detach takes all probes off; what they have written can still be read. If this process
// is about to end and another can do it, those at function entries are taken off after
// that.
func (s *Session) Detach(ending bool) error {
	if ending {
		s.leaveSlowLinks()
	}
	errs := []error{s.ledger.detach()}
	for _, detector := range s.parts() {
		errs = append(errs, s.objects[detector].detach())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("detaching: %w", err)
	}
	return nil
}

// leaveSlowLinks lets the process that outlives this one take off what takes long. Where
// there is none it is done here: nothing is lost but time. The counts of
// class csum are read after Detach and have to agree with its records: its programs must
// be at rest by then.
func (s *Session) leaveSlowLinks() {
	if s.reaper == nil {
		return
	}
	var fds []int
	for _, part := range s.parts() {
		if part == DetectorCsum && s.objects[part].rest() != nil {
			continue
		}
		fds = append(fds, s.objects[part].slowLinks()...)
	}
	if len(fds) > 0 {
		_ = s.reaper.Leave(fds)
	}
}

// LeaveOutCsum takes the programs of class csum off while the others stay: what each
// packet goes through. To attach it again takes another session.
func (s *Session) LeaveOutCsum() error {
	o := s.objects[DetectorCsum]
	if o == nil {
		return nil
	}
	delete(s.objects, DetectorCsum)
	s.detectors = slices.DeleteFunc(s.detectors, func(d string) bool { return d == DetectorCsum })
	if err := o.Close(); err != nil {
		return fmt.Errorf("detaching %s: %w", DetectorCsum, err)
	}
	return nil
}

// Close detaches everything and frees it.
func (s *Session) Close() error {
	errs := []error{s.ledger.detach()}
	for _, detector := range s.parts() {
		errs = append(errs, s.objects[detector].Close())
	}
	if s.reader != nil {
		errs = append(errs, s.reader.Close())
	}
	if s.ring != nil {
		errs = append(errs, s.ring.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("detaching: %w", err)
	}
	return nil
}

// Clock reads the clocks that tie the records' times to the calendar.
func Clock() *record.Clock {
	var boot unix.Timespec
	// These clocks exist on every kernel with BPF: the calls cannot fail.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)
	return &record.Clock{Time: now(), Realtime: time.Now().UnixNano(), Boottime: uint64(boot.Nano())}
}

// Now is the present in the records' clock.
func Now() uint64 { return uint64(now()) }

func now() record.Time {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return record.Time(ts.Nano())
}
