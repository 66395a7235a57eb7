// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// Live is the source of records that is the running kernel.
type Live struct {
	session *probe.Session
	namer   *Namer
	engine  *Engine
	decoder record.Decoder
	setup   record.Setup

	seen      map[uint32][]record.ThreadSeen // while scanning: held back, by process
	lost      map[lossKey]uint64
	reconcile bool // records were lost since the kernel's own lists were last read
	missed    bool // programs were not run since the threads were last gone through
	scanned   time.Time
	looked    time.Time // at the losses
	moves     probe.Moves
	listed    time.Time // the threads that are away, unless moves are told at once
	holders   holders
	births    births
	doubts    doubts
	modules   modules
	searches  searches
	dst       dstNews

	// Records counts what came out of the ring buffer.
	Records uint64
	// Processes follows the processes that the user named.
	Processes Processes
	// Attached, if not nil, is told what was attached because a module was loaded.
	Attached func([]probe.Outcome)
	// Search, if not nil, finds what holds the devices that have waited; then nothing
	// else is asked for it.
	Search MemorySearch
	// Unsearched, if not nil, is told why such a search failed.
	Unsearched func(error)
}

type lossKey struct{ detector, cause string }

// lossEvery is how often losses are looked at while records come; a verdict's
// evidence is no older than that.
const lossEvery = 200 * time.Millisecond

// listEvery is how often threads that stay away are looked for while moves are told late.
const listEvery = time.Second

// scanEvery is the least time between two scans of all threads: a busy host may miss
// a hit now and then all the time.
const scanEvery = 5 * time.Second

// NewLive connects a session to an engine, and feeds it what it must know first.
func NewLive(session *probe.Session, namer *Namer, engine *Engine, clock *record.Clock, setup *record.Setup) *Live {
	l := &Live{
		session: session, namer: namer, engine: engine, setup: *setup, lost: make(map[lossKey]uint64),
		dst: dstNews{make(news[failedOps]), make(news[crossedOps])},
	}
	engine.Feed(clock)
	engine.Feed(setup)
	return l
}

// Run feeds records until the context ends, or until done says so after a record;
// done may be nil.
func (l *Live) Run(ctx context.Context, done func() bool) error {
	stop := context.AfterFunc(ctx, func() {
		// A wake-up that fails is made up for by the deadline of the wait.
		_ = l.session.Interrupt()
	})
	defer stop()
	defer l.searches.stop()
	counted := time.Time{}
	for ctx.Err() == nil && (done == nil || !done()) {
		err := l.step(ctx, time.Now().Add(l.patience()))
		if errors.Is(err, probe.ErrTimeout) {
			l.tick()
		} else if err != nil {
			return err
		}
		l.lookAtBirths()
		if err := l.lookAtDoubts(); err != nil {
			return err
		}
		l.lookAtModules()
		if err := l.lookAtHolders(ctx); err != nil {
			return err
		}
		l.lookAtSearches(ctx)
		if time.Since(counted) >= countEvery {
			counted = time.Now()
			if err := l.session.SweepLedger(); err != nil {
				return err
			}
			// What it finds is of this time: all before that has to be known.
			if err := l.Drain(ctx); err != nil {
				return err
			}
			if err := l.lookAtDst(false); err != nil {
				return err
			}
		}
		if time.Since(l.looked) >= lossEvery { // unless it was just done
			if err := l.lookAtLosses(); err != nil {
				return err
			}
		}
		if l.moves != probe.MovesTold && time.Since(l.listed) >= listEvery {
			l.listed, l.reconcile = time.Now(), true
			// What has left the list has left a record, which tells more.
			if err := l.Drain(ctx); err != nil {
				return err
			}
		}
		if l.missed && l.moves != probe.MovesUnseen && time.Since(l.scanned) >= scanEvery {
			if err := l.scanAgain(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// tick says that time has passed, if there is nothing left that happened before: a
// machine that is short of time may have kept this process from reading.
func (l *Live) tick() {
	now := record.Time(probe.Now())
	if l.session.Pending() == 0 {
		l.engine.Feed(&record.Tick{Time: now})
	}
}

// Finish takes the probes off, takes in what they had written by then, and last the
// kernel's own counts. ending is for when this process is about to end: see
// probe.Session.Detach.
func (l *Live) Finish(ending bool) error {
	l.modules.stop()
	if err := l.session.Detach(ending); err != nil {
		return err
	}
	if err := l.Drain(context.Background()); err != nil {
		return err
	}
	if err := l.feedRewrites(); err != nil {
		return err
	}
	return l.lookAtDst(true)
}

// feedRewrites feeds the kernel's own counts of rewritten packets, as the last word.
func (l *Live) feedRewrites() error {
	rewrites, err := l.session.CsumRewrites()
	if err != nil {
		return err
	}
	for i := range rewrites {
		l.feed(&rewrites[i])
	}
	return nil
}

// Drain takes in what is in the ring buffer now, without waiting. On a busy host
// more comes all the time: that is left for later.
func (l *Live) Drain(ctx context.Context) error {
	for left := l.session.Pending(); left > 0 && ctx.Err() == nil; {
		before := l.session.Pending()
		err := l.step(ctx, time.Unix(0, 1))
		if errors.Is(err, probe.ErrTimeout) {
			break
		}
		if err != nil {
			return err
		}
		left -= max(1, before-l.session.Pending())
	}
	return l.lookAtLosses()
}

// patience is how long to wait for a record: until a detector wants to be woken,
// at most a second, so that losses do not stay unseen.
func (l *Live) patience() time.Duration {
	most := time.Second
	if l.holders.due {
		most = holdersEvery
	}
	for _, next := range []func() (time.Time, bool){l.births.next, l.doubts.next} {
		if due, ok := next(); ok {
			most = max(0, min(most, time.Until(due)))
		}
	}
	wake := l.engine.Wake()
	if wake == 0 {
		return most
	}
	now := probe.Now()
	if wake <= now {
		return 0
	}
	return min(time.Duration(wake-now), most)
}

func (l *Live) step(ctx context.Context, deadline time.Time) error {
	raw, err := l.session.Read(deadline)
	if err != nil {
		return err
	}
	l.Records++
	rec, err := l.decoder.Decode(raw)
	if err != nil {
		return fmt.Errorf("decoding what this program's own probes wrote: %w", err)
	}
	l.Processes.observe(rec)
	if l.Search != nil {
		l.searches.observe(rec, time.Now())
	} else {
		l.holders.observe(rec)
	}
	l.births.observe(rec)
	if r, ok := rec.(*record.ThreadSeen); ok {
		if l.seen != nil { // nil: a scan was interrupted
			l.seen[r.Thread.TGID] = append(l.seen[r.Thread.TGID], *r)
		}
		return nil
	}
	l.feedRaw(rec, raw)
	if module, ok := rec.(*record.ModuleLoad); ok {
		if attached := l.session.ModuleLoaded(ctx, module.Name); len(attached) > 0 && l.Attached != nil {
			l.Attached(attached)
		}
		l.modules.loaded(ctx, l.session, module.Name)
	}
	return nil
}

// feed feeds what is known of the names in a record, and then the record.
func (l *Live) feed(rec record.Record) { l.feedRaw(rec, nil) }

// feedRaw does so with a record that was just decoded from raw.
func (l *Live) feedRaw(rec record.Record, raw []byte) {
	for _, name := range l.namer.Names(rec) {
		l.engine.Feed(name)
	}
	l.engine.FeedRaw(rec, raw)
}

// lookAtLosses feeds the losses that are new, and the kernel's own lists if
// records are missing.
func (l *Live) lookAtLosses() error {
	l.looked = time.Now()
	losses, err := l.session.Losses()
	if err != nil {
		return err
	}
	for i := range losses {
		loss := &losses[i]
		key := lossKey{loss.Detector, loss.Cause}
		if l.lost[key] == loss.Count {
			continue
		}
		l.lost[key] = loss.Count
		l.engine.Feed(loss)
		l.reconcile = l.reconcile || loss.Cause == probe.RingFull
		l.missed = l.missed || loss.Cause == probe.Missed && loss.Detector == probe.DetectorThreads
	}
	if !l.reconcile {
		return nil
	}
	l.reconcile = false
	away, err := l.session.AwayThreads()
	if err != nil || away == nil {
		return err
	}
	l.feed(away)
	return nil
}

// Lose feeds a loss that is not the kernel's: something that this program left out.
func (l *Live) Lose(loss *record.Loss) {
	loss.Time = record.Time(probe.Now())
	l.engine.Feed(loss)
}

// SetClock is for when the wall clock was set: what is told from now on is told by the
// new time.
func (l *Live) SetClock(clock *record.Clock) { l.engine.Feed(clock) }

// Sample follows one in oneIn of the objects that hold devices from now on: see
// probe.Session.Sample. Verdicts say so to the end, also when all are followed again:
// those that were made meanwhile are not known.
func (l *Live) Sample(oneIn uint32) error {
	if l.session.FollowsObjects() && oneIn > max(1, l.setup.HoldersOneIn) {
		l.setup.Time, l.setup.HoldersOneIn = record.Time(probe.Now()), oneIn
		setup := l.setup
		l.engine.Feed(&setup)
	}
	return l.session.Sample(oneIn)
}

// TellMoves changes how moves of threads are told: see probe.Session.TellMoves.
func (l *Live) TellMoves(how probe.Moves) error {
	l.moves = how
	return l.session.TellMoves(how)
}

// LeaveOutCsum ends class csum while the others go on. Its counts so far are fed.
func (l *Live) LeaveOutCsum() error {
	if err := l.feedRewrites(); err != nil {
		return err
	}
	return l.session.LeaveOutCsum()
}

// Losses is everything that was lost, by "detector cause".
func (l *Live) Losses() map[string]uint64 {
	out := make(map[string]uint64, len(l.lost))
	for key, n := range l.lost {
		out[key.detector+" "+key.cause] = n
	}
	return out
}

// Processes follows which of the processes that the user named are there.
type Processes struct {
	Seen map[uint32]record.Thread // alive, by pid
	Gone []record.Thread          // exited meanwhile; the last few of many
}

// goneMax bounds how many are remembered after their end.
const goneMax = 64

func (p *Processes) observe(rec record.Record) {
	r, ok := rec.(*record.Process)
	if !ok || !r.Named {
		return
	}
	if p.Seen == nil {
		p.Seen = make(map[uint32]record.Thread)
	}
	if r.Event != record.ProcessExit {
		p.Seen[r.Leader.TGID] = r.Leader
		return
	}
	delete(p.Seen, r.Leader.TGID)
	if len(p.Gone) < goneMax {
		p.Gone = append(p.Gone, r.Leader)
	}
}
