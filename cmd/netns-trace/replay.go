// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/recording"
	"github.com/netns-trace/netns-trace/pkg/report"
	"github.com/netns-trace/netns-trace/pkg/trace"
)

// replay runs recordings through the detectors.
type replay struct {
	follow bool
	// found gets every finding; seen, if not nil, every record before the detectors.
	found func(*finding.Finding)
	seen  func(record.Record)
	// begun, if not nil, is called when start and known are there, before the first record.
	begun func()

	about   report.Recorded
	tally   report.Tally
	known   *finding.Knowledge
	start   *recording.Start // of the first file
	end     *recording.End   // of the last one; nil: it has none
	engine  *trace.Engine
	last    uint64 // time of the last record
	lost    map[string]uint64
	damaged error
}

// followEvery is how often a file that grows is looked at.
const followEvery = 200 * time.Millisecond

// files replays the files of one recording, in their order.
func (p *replay) files(ctx context.Context, paths []string) error {
	p.lost = make(map[string]uint64)
	for i, path := range paths {
		if err := p.file(ctx, path, i == len(paths)-1); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	p.finish()
	return nil
}

func openRecording(path string) (*os.File, error) {
	if path == "-" {
		return os.Stdin, nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, errors.New("permission denied: a recording belongs to who made it, for root's eyes only as a rule (sudo chown $USER FILE)")
	}
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, path.Err // the name is added by who asked
	}
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, errors.Join(errors.New("is a directory"), f.Close())
	}
	return f, nil
}

func (p *replay) file(ctx context.Context, path string, isLast bool) error {
	f, err := openRecording(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := p.open(ctx, f)
	if err != nil {
		return err
	}
	defer r.Close()
	repeated := 0
	if p.start == nil {
		p.begin(r.Start())
	} else if p.continues(r.Start()) {
		repeated = r.Start().Known
	}
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil && !p.follow {
			return ctx.Err()
		}
		rec, _, err := r.Next()
		if err != nil {
			if p.ended(ctx, r, err, isLast) {
				return nil
			}
			n--
			continue
		}
		if n >= repeated {
			p.feed(rec)
		}
	}
}

// open reads the beginning of a file, which may be yet to come.
func (p *replay) open(ctx context.Context, f *os.File) (*recording.Reader, error) {
	for {
		r, err := recording.NewReader(f)
		if !p.follow || !errors.As(err, new(*recording.CutOffError)) || !pause(ctx) {
			return r, err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, fmt.Errorf("going back to the beginning: %w", err)
		}
	}
}

func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(followEvery):
		return true
	}
}

func (p *replay) begin(start *recording.Start) {
	p.start, p.known = start, new(finding.Knowledge)
	p.known.SetZone(start.Zone.Location())
	detectors, unknown := newDetectors(start.Config, p.known)
	for _, class := range unknown {
		p.note("it was made with a detector %q, which this version does not have", class)
	}
	p.engine = trace.NewEngine(p.known, func(f *finding.Finding) {
		p.tally.Count(f)
		p.found(f)
	}, detectors...)
	p.about = report.Recorded{
		Host: strings.TrimSpace(fmt.Sprintf("%s %s %s %s", start.Host.Name, start.Host.System, start.Host.Release, start.Host.Machine)),
		From: time.Unix(0, start.Clock.Realtime), Zone: start.Zone.Location(),
		Watched: start.Watched, Unseen: start.Unseen, Notes: p.about.Notes,
	}
	if start.Before > 0 {
		p.note("it begins in the middle: %d records before it are not here, and threads, devices and counters may be missing for it", start.Before)
	}
	if start.Redacted {
		p.note("names and addresses in it were replaced")
	}
	if p.begun != nil {
		p.begun()
	}
}

// continues reports whether a file goes on where the one before ended.
func (p *replay) continues(s *recording.Start) bool {
	if s.Clock == p.start.Clock && s.Host.BootID == p.start.Host.BootID && p.end != nil && p.end.Reason == recording.ReasonContinued {
		return true
	}
	p.note("not all of its files were given, or not in their order")
	return false
}

func (p *replay) feed(rec record.Record) {
	p.last = max(p.last, rec.When())
	if p.seen != nil {
		p.seen(rec)
	}
	if l, ok := rec.(*record.Loss); ok {
		p.lost[l.Detector+" "+l.Cause] = l.Count
	}
	p.engine.Feed(rec)
}

// ended takes note of how a file ends, and reports whether it does.
func (p *replay) ended(ctx context.Context, r *recording.Reader, err error, isLast bool) bool {
	cut, isCut := errors.AsType[*recording.CutOffError](err)
	if isCut && p.follow && isLast && pause(ctx) {
		return false
	}
	p.about.Records += r.Records
	for name, n := range r.Unknown {
		p.note("%d records are of a type that this version does not know: %s", n, name)
	}
	p.end = r.End()
	switch {
	case errors.Is(err, io.EOF):
		if p.end.TooLarge > 0 {
			p.note("%d records were too large for it", p.end.TooLarge)
		}
	case isCut && p.follow:
	case isCut:
		p.note("it has no end: it was cut off after %d bytes, or is still being written (--follow)", cut.Offset)
	default:
		p.damaged = err
		p.note("%v; what is before that is reported", err)
	}
	return true
}

// finish makes up the account of what was read.
func (p *replay) finish() {
	a := &p.about
	a.To = p.known.At(p.last)
	a.Lost = make(map[string]uint64)
	for cause, n := range p.lost {
		if n > 0 {
			a.Lost[cause] = n
		}
	}
	if e := p.end; e != nil {
		a.To = p.known.At(max(e.Time, p.last))
		if len(e.Watched) > 0 {
			a.Watched = e.Watched
		}
		a.Unseen = e.Unseen
	}
}

func (p *replay) note(format string, args ...any) {
	p.about.Notes = append(p.about.Notes, fmt.Sprintf(format, args...))
}
