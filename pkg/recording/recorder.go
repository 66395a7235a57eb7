// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// Options says where a recording goes.
type Options struct {
	Path string // "-" is standard output
	// MaxSize is the size in bytes after which the next file is begun; 0: there is one
	// file. With Last it bounds what is held in memory too.
	MaxSize int64
	// MaxFiles is how many files are kept, the newest ones; 0: all.
	MaxFiles int
	// Last makes a flight recorder: the records of that time are held in memory, and
	// written when Trigger is called.
	Last time.Duration
	// Redact leaves out what a redactor replaces.
	Redact bool
}

// flightMemory bounds what a flight recorder holds unless MaxSize says otherwise.
const flightMemory = 64 << 20

// Recorder writes what is fed to an engine into one file or several. It is the
// engine's tap; but for Trigger it is used by one goroutine.
type Recorder struct {
	options   Options
	target    *target
	start     Start
	known     known
	flight    *flight
	writer    *writer // nil: no file is open
	until     uint64  // flight: when to stop writing, in record time
	part      int
	repeated  int    // records of the open file that only repeat what was known
	records   uint64 // in files that are ended
	bytes     int64
	redactor  *redactor // nil: nothing is replaced
	triggered atomic.Bool
	err       error
}

// Create opens what the recording goes to, so that a mistake is known before anything
// is traced. A file that exists is refused with os.ErrExist. Waiting for a reader of
// a FIFO ends with the context. Begin must follow, or Discard.
func Create(ctx context.Context, o Options) (*Recorder, error) {
	r := &Recorder{options: o, target: newTarget(o.Path, o.MaxFiles)}
	if o.Redact {
		r.redactor = newRedactor()
	}
	if o.Last == 0 {
		return r, r.target.open(ctx, 0)
	}
	memory := o.MaxSize
	if memory == 0 {
		memory = flightMemory
	}
	if err := r.target.vacant(); err != nil {
		return nil, err
	}
	var err error
	r.flight, err = newFlight(uint64(o.Last), memory, &r.known)
	return r, err
}

// Discard removes the file of a recording that does not begin.
func (r *Recorder) Discard() { r.target.discard() }

// Begin writes the start section. It is completed by the recorder in each file.
func (r *Recorder) Begin(start Start) error {
	if r.redactor != nil {
		start = r.redactor.Start(start)
	}
	r.start = start
	if r.flight == nil {
		r.begin()
	}
	return r.err
}

// begin writes the start of a file, and what is known from before it.
func (r *Recorder) begin() {
	start := r.start
	lessons := r.known.records()
	if r.part > 0 || r.flight != nil { // else it is as the caller says: a copy may be of a part
		start.Part, start.Before, start.Known = r.part, r.records, len(lessons)
	}
	if r.flight != nil {
		start.Before = r.flight.left
	}
	r.repeated = len(lessons)
	start.Written = time.Now().UTC()
	if r.writer, r.err = newWriter(r.target, &start); r.err != nil {
		return
	}
	for _, rec := range lessons {
		if r.err = r.writer.Add(rec, nil); r.err != nil {
			return
		}
	}
	r.err = r.writer.Flush()
}

// Fed takes in a record that the detectors get. It implements trace.Tap.
func (r *Recorder) Fed(rec record.Record, raw []byte) {
	if r.err != nil {
		return
	}
	if r.redactor != nil {
		rec, raw = r.redactor.Record(rec), nil
	}
	r.take(rec, raw)
}

func (r *Recorder) take(rec record.Record, raw []byte) {
	if r.triggered.Swap(false) {
		r.land(rec.When())
	}
	switch {
	case r.writer == nil:
		if r.flight != nil {
			r.err = r.flight.add(rec, raw)
		}
		return
	case r.options.MaxSize > 0 && r.writer.Size() >= r.options.MaxSize:
		r.next()
	case r.flight != nil && rec.When() > r.until:
		r.end(End{Time: rec.When(), Reason: ReasonContinued})
		if r.err == nil {
			r.take(rec, raw)
		}
		return
	}
	if r.err != nil {
		return
	}
	if teaches(rec) {
		r.known.learn(rec)
	}
	r.err = r.writer.Add(rec, raw)
}

// Trigger makes a flight recorder write what it holds, and go on writing for as long
// as it would hold a record. It may be called from any goroutine.
func (r *Recorder) Trigger() { r.triggered.Store(r.options.Last > 0) }

// land opens a file and writes what is held.
func (r *Recorder) land(now uint64) {
	r.until = now + uint64(r.options.Last)
	if r.writer != nil {
		return
	}
	if r.err = r.target.open(context.Background(), r.part); r.err != nil {
		return
	}
	// What leaves memory at this moment must not be told as known before it.
	r.flight.pack()
	if r.begin(); r.err == nil {
		r.err = r.flight.writeTo(r.writer)
	}
}

// next ends a file and begins another.
func (r *Recorder) next() {
	r.end(End{Reason: ReasonContinued})
	if r.err != nil {
		return
	}
	if r.err = r.target.open(context.Background(), r.part); r.err == nil {
		r.begin()
	}
}

// end ends the present file.
func (r *Recorder) end(end End) {
	if r.redactor != nil {
		end = r.redactor.End(end)
	}
	if r.err = r.writer.Close(&end); r.err != nil {
		return
	}
	r.bytes, r.records = r.Written()
	r.writer, r.repeated = nil, 0
	r.part++
	r.err = r.target.close()
}

// Err is why nothing more is written; nil while all is well.
func (r *Recorder) Err() error { return r.err }

// Finish ends the recording. It returns the first error of all its writing; what was
// written before it can be read.
func (r *Recorder) Finish(end End) error {
	if r.err == nil && r.triggered.Swap(false) {
		r.land(end.Time)
	}
	if r.err == nil && r.writer != nil {
		if end.Reason == "" {
			end.Reason = ReasonFinished
		}
		r.end(end)
	}
	if r.flight != nil {
		r.flight.close()
	}
	if r.err == nil {
		return nil
	}
	whole := int64(-1)
	if write, ok := errors.AsType[*writeError](r.err); ok {
		whole = write.Whole
	}
	if err := r.target.cut(whole); err != nil {
		return errors.Join(r.err, err)
	}
	return fmt.Errorf("%w; %s", r.err, "what was recorded before can be read")
}

// CutOff ends the file without an end section: what is known to be its end is not.
func (r *Recorder) CutOff() error {
	if r.err == nil && r.writer != nil {
		r.err = r.writer.Flush()
	}
	return errors.Join(r.err, r.target.close())
}

// Files are those that were written and kept, in order.
func (r *Recorder) Files() []string { return r.target.kept }

// Written is how many bytes and records are in all files, also in those that were
// removed to keep to MaxFiles.
func (r *Recorder) Written() (bytes int64, records uint64) {
	if r.writer != nil {
		return r.bytes + r.writer.Size(), r.records + r.writer.Records() - uint64(r.repeated)
	}
	return r.bytes, r.records
}
