// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"fmt"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// heldBlock is a packed block of records that is in no file yet.
type heldBlock struct {
	packed  []byte
	last    uint64 // time of its last record
	records uint64
	types   typeCounts
}

// flight holds the records of the last while in memory.
type flight struct {
	window uint64 // ns
	memory int64  // bytes of packed blocks at most

	packer *packer
	filler *filler
	types  typeCounts
	latest uint64 // time of the last record
	blocks []*heldBlock
	bytes  int64

	reader  *Reader // takes records out of blocks that leave
	known   *known  // what was known before the first block
	left    uint64  // records that have left
	dropped uint64  // of these, before the window was over
}

func newFlight(window uint64, memory int64, k *known) (*flight, error) {
	schema, err := describe(registry())
	if err != nil {
		return nil, err
	}
	f := &flight{window: window, memory: memory, known: k}
	if f.packer, err = newPacker(); err != nil {
		return nil, err
	}
	if f.filler, err = newFiller(schema); err != nil {
		return nil, err
	}
	blocks, err := newUnpacker(nil)
	if err != nil {
		return nil, err
	}
	f.reader = &Reader{blocks: blocks, Unknown: make(map[string]uint64)}
	f.reader.decoder, err = newDecoder(schema)
	return f, err
}

func (f *flight) add(rec record.Record, raw []byte) error {
	if f.filler.due(rec.When()) {
		f.pack()
	}
	fits, err := f.filler.add(rec, raw)
	if err != nil {
		return fmt.Errorf("holding a record: %w", err)
	}
	if !fits { // a single one of megabytes
		f.filler.encoder.reset()
		f.types = typeCounts{}
		return nil
	}
	f.types.add(rec)
	f.latest = max(f.latest, rec.When())
	return nil
}

// pack ends the present block, and lets go of those that are too old or too many.
func (f *flight) pack() {
	e := f.filler.encoder
	if e.count > 0 {
		b := &heldBlock{packed: f.packer.pack(nil, blockRecords, e.buf), last: f.latest, records: uint64(e.count), types: f.types}
		f.blocks = append(f.blocks, b)
		f.bytes += int64(len(b.packed))
		f.types = typeCounts{}
	}
	e.reset()
	for len(f.blocks) > 0 {
		b := f.blocks[0]
		old := f.latest > f.window && b.last < f.latest-f.window
		if !old && f.bytes <= f.memory {
			return
		}
		if !old {
			f.dropped += b.records
		}
		f.leave(b)
		f.blocks = f.blocks[1:]
	}
}

// leave learns what the records of a block taught, before it goes.
func (f *flight) leave(b *heldBlock) {
	f.bytes -= int64(len(b.packed))
	f.left += b.records
	payload := b.packed[blockHeaderSize:]
	if b.packed[5]&flagCompressed != 0 {
		var err error
		if payload, err = f.reader.blocks.zstd.DecodeAll(payload, nil); err != nil {
			return // it was packed here: this cannot be
		}
	}
	f.reader.decoder.begin(payload)
	for f.reader.decoder.more() {
		e, err := f.reader.decoder.next()
		if err != nil {
			return
		}
		if rec, _, err := f.reader.known(e); err == nil && rec != nil {
			f.known.learn(rec)
		}
	}
}

// writeTo hands all blocks over to a writer; the flight is then empty.
func (f *flight) writeTo(w *writer) error {
	f.pack()
	for _, b := range f.blocks {
		if err := w.append(b); err != nil {
			return err
		}
		f.leave(b)
	}
	f.blocks = nil
	return nil
}

func (f *flight) close() { f.reader.Close() }
