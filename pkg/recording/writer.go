// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"

	"github.com/netns-trace/netns-trace/pkg/record"
)

const (
	// blockTarget is the size at which a block is compressed and written.
	blockTarget = 256 << 10
	// blockAge is how long a record waits for its block to be written, in ns; routineAge
	// how long those do that come every second although nothing happens.
	blockAge   = 1_000_000_000
	routineAge = 10 * blockAge
)

// filler fills one block after another with records.
type filler struct {
	encoder *encoder
	began   uint64 // time of the block's first record
	news    bool   // there is more in it than routine
}

func newFiller(schema *Schema) (*filler, error) {
	enc, err := newEncoder(schema, registry())
	if err != nil {
		return nil, err
	}
	return &filler{encoder: enc}, nil
}

// due reports whether the block is to be written before a record of that time.
func (f *filler) due(now uint64) bool {
	age := uint64(routineAge)
	if f.news {
		age = blockAge
	}
	return f.encoder.count > 0 && (len(f.encoder.buf) >= blockTarget || now >= f.began+age)
}

// add puts a record into the block. It is not ok when the record does not fit.
func (f *filler) add(rec record.Record, raw []byte) (ok bool, err error) {
	if f.encoder.count == 0 {
		f.began, f.news = rec.When(), false
	}
	switch rec.(type) {
	case *record.Tick, *record.DstCounter:
	default:
		f.news = true
	}
	if raw != nil {
		err = f.encoder.raw(raw)
	} else {
		err = f.encoder.made(rec)
	}
	return len(f.encoder.buf) <= maxPayload, err
}

// writer writes a recording, part by part from start to end.
type writer struct {
	out    io.Writer
	packer *packer
	filler *filler
	packed []byte

	size    int64 // bytes written
	records uint64
	large   uint64
	types   typeCounts
	err     error // the first: after it nothing is written
}

// newWriter begins a recording on out. It completes start: Format and Made are the
// writer's own.
func newWriter(out io.Writer, start *Start) (*writer, error) {
	schema, err := describe(registry())
	if err != nil {
		return nil, err
	}
	w := &writer{out: out}
	if w.packer, err = newPacker(); err != nil {
		return nil, err
	}
	if w.filler, err = newFiller(schema); err != nil {
		return nil, err
	}
	start.Format, start.Made = formatVersion, schema
	text, err := json.Marshal(start)
	if err != nil {
		return nil, fmt.Errorf("describing the recording: %w", err)
	}
	if len(text) > maxPayload {
		return nil, fmt.Errorf("the start section has %d bytes, more than a block can have", len(text))
	}
	w.write(w.packer.pack(fileHeader(), blockStart, text))
	return w, w.err
}

// Add writes a record: raw are the bytes that it had in the ring, nil for one made in
// user space. It is on its way to the file after a second, or with Flush.
func (w *writer) Add(rec record.Record, raw []byte) error {
	if w.filler.due(rec.When()) {
		w.flush()
	}
	if w.err != nil {
		return w.err
	}
	before := len(w.filler.encoder.buf)
	fits, err := w.filler.add(rec, raw)
	if err == nil && !fits {
		// It may fit a block of its own.
		w.filler.encoder.buf = w.filler.encoder.buf[:before]
		w.filler.encoder.count--
		w.flush()
		if fits, err = w.filler.add(rec, raw); !fits {
			w.filler.encoder.reset()
			w.large++
			return w.err
		}
	}
	if err != nil {
		w.err = fmt.Errorf("writing the recording: %w", err)
		return w.err
	}
	w.records++
	w.types.add(rec)
	return w.err
}

// Flush writes what has been added.
func (w *writer) Flush() error {
	w.flush()
	return w.err
}

func (w *writer) flush() {
	e := w.filler.encoder
	if e.count > 0 {
		w.packed = w.packer.pack(w.packed[:0], blockRecords, e.buf)
		w.write(w.packed)
	}
	e.reset()
}

// append writes a block of records that was packed elsewhere.
func (w *writer) append(b *heldBlock) error {
	w.flush()
	w.packer.number(b.packed)
	w.write(b.packed)
	w.records += b.records
	w.types.merge(&b.types)
	return w.err
}

// Close writes the end section. It completes end with the totals that the writer
// counts. It does not close what it wrote to.
func (w *writer) Close(end *End) error {
	w.flush()
	end.Records, end.TooLarge, end.Types = w.records, w.large, w.types.names()
	text, err := json.Marshal(end)
	if err != nil {
		return fmt.Errorf("describing the end of the recording: %w", err)
	}
	w.packed = w.packer.pack(w.packed[:0], blockEnd, text)
	w.write(w.packed)
	return w.err
}

// Size is how many bytes were written so far.
func (w *writer) Size() int64 { return w.size }

// Records is how many records were added.
func (w *writer) Records() uint64 { return w.records }

func (w *writer) write(b []byte) {
	if w.err != nil {
		return
	}
	n, err := w.out.Write(b)
	if err != nil {
		w.err = &writeError{Whole: w.size, Err: err}
		w.size += int64(n)
		return
	}
	w.size += int64(n)
}

// writeError is a failure to write. What was written up to Whole is a recording that
// is cut off there.
type writeError struct {
	Whole int64 // bytes
	Err   error
}

func (e *writeError) Error() string { return fmt.Sprintf("writing the recording: %v", e.Err) }

func (e *writeError) Unwrap() error { return e.Err }

// typeCounts counts records by type. Its last slot spares a map's look-up for records
// that come in rows.
type typeCounts struct {
	last  reflect.Type
	row   uint64
	types map[reflect.Type]uint64
}

func (c *typeCounts) add(rec record.Record) {
	t := reflect.TypeOf(rec)
	if t != c.last {
		c.fold()
		c.last = t
	}
	c.row++
}

func (c *typeCounts) fold() {
	if c.row == 0 {
		return
	}
	if c.types == nil {
		c.types = make(map[reflect.Type]uint64)
	}
	c.types[c.last] += c.row
	c.row = 0
}

func (c *typeCounts) merge(o *typeCounts) {
	c.fold()
	o.fold()
	for t, n := range o.types {
		if c.types == nil {
			c.types = make(map[reflect.Type]uint64)
		}
		c.types[t] += n
	}
}

func (c *typeCounts) names() map[string]uint64 {
	c.fold()
	out := make(map[string]uint64, len(c.types))
	for t, n := range c.types {
		out[t.Elem().Name()] = n
	}
	return out
}
