// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// Reader reads a recording.
type Reader struct {
	blocks  *unpacker
	decoder *decoder
	wire    record.Decoder
	padded  []byte
	start   *Start
	end     *End
	at      int64 // where the present block of records begins

	// Records counts those that were read, Unknown those of types that this version
	// does not know, by the type's name. The latter are passed over.
	Records uint64
	Unknown map[string]uint64
}

// unknownMax bounds the different unknown types that are told apart.
const unknownMax = 64

// NewReader reads the beginning of a recording. It returns ErrNotRecording,
// a *NewerFormatError, a *CutOffError or a *DamagedError for what cannot be read. The
// reader must be closed.
func NewReader(in io.Reader) (*Reader, error) {
	blocks, err := newUnpacker(in)
	if err != nil {
		return nil, err
	}
	r := &Reader{blocks: blocks, Unknown: make(map[string]uint64)}
	if err := r.begin(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Reader) begin() error {
	if err := r.blocks.fileHeader(); err != nil {
		return err
	}
	kind, payload, err := r.blocks.next()
	if errors.Is(err, io.EOF) {
		return r.cutOff()
	}
	if err != nil {
		return err
	}
	first := int64(fileHeaderSize)
	if kind != blockStart {
		return &DamagedError{Offset: first, Reason: "it does not begin with a start section"}
	}
	r.start = new(Start)
	if err := json.Unmarshal(payload, r.start); err != nil {
		return &DamagedError{Offset: first, Reason: fmt.Sprintf("its start section is not what it should be: %v", err)}
	}
	if r.start.Made == nil {
		return &DamagedError{Offset: first, Reason: "its start section does not describe the records"}
	}
	if r.decoder, err = newDecoder(r.start.Made); err != nil {
		return &DamagedError{Offset: first, Reason: err.Error()}
	}
	return nil
}

// Start is the start section.
func (r *Reader) Start() *Start { return r.start }

// End is the end section; nil before Next has returned io.EOF.
func (r *Reader) End() *End { return r.end }

// Close frees what reading took.
func (r *Reader) Close() { r.blocks.close() }

// Next returns the next record, and the bytes that it had in the ring, nil if it was
// made in user space. Both are valid until the next call. At the end of the recording
// the error is io.EOF. A *CutOffError says that the file ends without one: when it has
// grown, Next can be called again. After a *DamagedError there is nothing more.
func (r *Reader) Next() (record.Record, []byte, error) {
	for {
		for !r.decoder.more() {
			if err := r.nextBlock(); err != nil {
				return nil, nil, err
			}
		}
		e, err := r.decoder.next()
		if err != nil {
			return nil, nil, &DamagedError{Offset: r.at, Reason: err.Error()}
		}
		rec, raw, err := r.known(e)
		if err != nil {
			return nil, nil, &DamagedError{Offset: r.at, Reason: err.Error()}
		}
		r.Records++
		if rec != nil {
			return rec, raw, nil
		}
	}
}

func (r *Reader) nextBlock() error {
	for {
		if r.end != nil {
			return io.EOF
		}
		r.at = r.blocks.offset
		kind, payload, err := r.blocks.next()
		if errors.Is(err, io.EOF) {
			return r.cutOff()
		}
		if err != nil {
			return err
		}
		switch kind {
		case blockRecords:
			r.decoder.begin(payload)
			return nil
		case blockEnd:
			end := new(End)
			if err := json.Unmarshal(payload, end); err != nil {
				return &DamagedError{Offset: r.at, Reason: fmt.Sprintf("its end section is not what it should be: %v", err)}
			}
			r.end = end
		} // A block of another kind is a newer writer's, and can be passed over.
	}
}

// known makes a record of an entry; nil for one of an unknown type.
func (r *Reader) known(e entry) (record.Record, []byte, error) {
	switch {
	case e.made != nil:
		return e.made, nil, nil
	case e.raw == nil:
		r.unknown(e.unknown)
		return nil, nil, nil
	}
	raw := e.raw
	// A record of an older version lacks the fields that were appended since; zero
	// stands for "not there".
	if size, ok := record.WireSize(le.Uint16(raw)); ok && len(raw) < size {
		r.padded = append(append(r.padded[:0], raw...), make([]byte, size-len(raw))...)
		le.PutUint32(r.padded[4:], uint32(size))
		raw = r.padded
	}
	rec, err := r.wire.Decode(raw)
	if unknown := (*record.UnknownTypeError)(nil); errors.As(err, &unknown) {
		r.unknown(fmt.Sprintf("type %d of the ring", unknown.Type))
		return nil, nil, nil
	}
	return rec, e.raw, err
}

func (r *Reader) unknown(name string) {
	if _, seen := r.Unknown[name]; !seen && len(r.Unknown) >= unknownMax {
		name = "others"
	}
	r.Unknown[name]++
}

func (r *Reader) cutOff() error {
	return &CutOffError{Offset: r.blocks.offset, Bytes: int64(r.blocks.have)}
}
