// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"cmp"
	"encoding"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"reflect"
	"slices"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// What a record in a block begins with: a number whose two lowest bits say which form
// it has, and the others its type.
const (
	entryRaw      = 0 // of the ring buffer, as large as the last of its type
	entryRawSized = 1 // its size and version follow
	entryMade     = 2 // made in user space; the type is an index of Schema.Records
	entryRawTurn  = 3 // as entryRaw, coded against the record of its type before the last
)

// Records of the ring begin with {type u16, version u16, size u32, time u64}.
const (
	rawHeaderSize = 16
	rawMax        = 64 << 10
)

// encoder makes the payload of a block of records. Nothing in a payload depends on
// another block.
type encoder struct {
	layouts []layout
	numbers map[reflect.Type]int

	buf     []byte
	count   int
	last    uint64 // time of the last record
	slots   [][]uint64
	strings map[string]uint64
	raws    map[uint16]*rawState
}

// rawState are the last two records of a type that came from the ring. There are two
// since things go there and back: what comes back is like the one before.
type rawState struct {
	version      uint16
	body, before []byte // from the end of the header on, padded to whole words
	size         int    // without the padding
	used         bool   // since the block began
}

func newEncoder(schema *Schema, types []reflect.Type) (*encoder, error) {
	layouts, err := schema.layouts(typesByName(types))
	if err != nil {
		return nil, err
	}
	e := &encoder{
		layouts: layouts, numbers: make(map[reflect.Type]int),
		strings: make(map[string]uint64), raws: make(map[uint16]*rawState),
	}
	for i, l := range layouts {
		e.numbers[l.goType] = i
		e.slots = append(e.slots, make([]uint64, l.slots))
	}
	return e, nil
}

// reset begins a new block.
func (e *encoder) reset() {
	e.buf, e.count, e.last = e.buf[:0], 0, 0
	for _, s := range e.slots {
		clear(s)
	}
	clear(e.strings)
	for _, r := range e.raws {
		r.reset()
	}
}

// made appends a record by its Go value.
func (e *encoder) made(rec record.Record) error {
	v := reflect.ValueOf(rec).Elem()
	n, ok := e.numbers[v.Type()]
	if !ok {
		return fmt.Errorf("records of type %s are not in the registry of pkg/recording", v.Type())
	}
	e.uvarint(uint64(n)<<2 | entryMade)
	e.value(e.layouts[n].root, v, e.slots[n])
	e.count++
	return nil
}

// raw appends a record by the bytes that it had in the ring: its header says how many.
func (e *encoder) raw(b []byte) error {
	if len(b) < rawHeaderSize || len(b) > rawMax || int(le.Uint32(b[4:])) != len(b) {
		return fmt.Errorf("%d bytes are no record of the ring", len(b))
	}
	kind, version := le.Uint16(b), le.Uint16(b[2:])
	state := e.raws[kind]
	if state == nil {
		state = new(rawState)
		e.raws[kind] = state
	}
	body := b[rawHeaderSize:]
	if !state.used || state.size != len(body) || state.version != version {
		e.uvarint(uint64(kind)<<2 | entryRawSized)
		e.uvarint(uint64(len(body)))
		e.uvarint(uint64(version))
		state.resize(len(body))
		state.version, state.used = version, true
		state.copy()
	} else if len(body) > sameStep && equalSteps(body, state.before) > equalSteps(body, state.body) {
		e.uvarint(uint64(kind)<<2 | entryRawTurn)
	} else {
		e.uvarint(uint64(kind)<<2 | entryRaw)
		state.copy()
	}
	state.body, state.before = state.before, state.body
	e.time(le.Uint64(b[8:]))
	e.words(state.body, body)
	e.count++
	return nil
}

func (r *rawState) reset() {
	clear(r.body)
	clear(r.before)
	r.used = false
}

// resize keeps what there is of the last records, so that the words both have are
// still compared.
func (r *rawState) resize(size int) {
	words, old := (size+3)/4*4, min(r.size, size)
	for _, body := range []*[]byte{&r.body, &r.before} {
		*body = slices.Grow((*body)[:min(len(*body), words)], words)[:words]
		clear((*body)[old:])
	}
	r.size = size
}

// copy makes the next record like the last, not like the one before.
func (r *rawState) copy() { copy(r.before, r.body) }

// equalSteps counts the steps of a body that are as they were.
func equalSteps(body, before []byte) (n int) {
	for at := 0; at+sameStep <= len(body); at += sameStep {
		if string(before[at:at+sameStep]) == string(body[at:at+sameStep]) {
			n++
		}
	}
	return n
}

// sameStep is how many bytes are compared at once.
const sameStep = 64

// words appends what differs between two bodies of one size: pairs of {words passed
// over, difference}, and at last the words passed over up to the end.
func (e *encoder) words(last, body []byte) {
	// So much a body takes at most: it is written without a look at the room again.
	room := slices.Grow(e.buf, len(body)/4*wordMax+2*binary.MaxVarintLen64)
	n := len(room)
	room = room[:cap(room)]
	skip, at := 0, 0
	for ; at+8 <= len(body); at += 8 {
		// Most of a record is the same as before, or room for a stack that is empty.
		if at%sameStep == 0 {
			for at+sameStep <= len(body) && string(last[at:at+sameStep]) == string(body[at:at+sameStep]) {
				skip += sameStep / 4
				at += sameStep
			}
			if at+8 > len(body) {
				break
			}
		}
		now, before := le.Uint64(body[at:]), le.Uint64(last[at:])
		if now == before {
			skip += 2
			continue
		}
		le.PutUint64(last[at:], now)
		if d := uint32(now) - uint32(before); d != 0 {
			n += putDifference(room[n:], skip, d)
			skip = 0
		} else {
			skip++
		}
		if d := uint32(now>>32) - uint32(before>>32); d != 0 {
			n += putDifference(room[n:], skip, d)
			skip = 0
		} else {
			skip++
		}
	}
	for ; at < len(body); at += 4 {
		var word [4]byte
		copy(word[:], body[at:])
		now, before := le.Uint32(word[:]), le.Uint32(last[at:])
		if now == before {
			skip++
			continue
		}
		le.PutUint32(last[at:], now)
		n += putDifference(room[n:], skip, now-before)
		skip = 0
	}
	if skip > 0 {
		n += binary.PutUvarint(room[n:], uint64(skip))
	}
	e.buf = room[:n]
}

// wordMax is how many bytes a word that differs takes at most: the words passed over
// are fewer than 1<<14.
const wordMax = 2 + binary.MaxVarintLen32

// putDifference writes a pair and returns its length.
func putDifference(b []byte, skip int, d uint32) int {
	n := 1
	if skip < 0x80 {
		b[0] = byte(skip)
	} else {
		n = binary.PutUvarint(b, uint64(skip))
	}
	z := d<<1 ^ uint32(int32(d)>>31)
	for z >= 0x80 {
		b[n] = byte(z) | 0x80
		z >>= 7
		n++
	}
	b[n] = byte(z)
	return n + 1
}

func (e *encoder) uvarint(n uint64) { e.buf = binary.AppendUvarint(e.buf, n) }

// signed appends a number as its distance from another, small distances in few bytes.
func (e *encoder) signed(d uint64) { e.uvarint(d<<1 ^ uint64(int64(d)>>63)) }

func (e *encoder) time(t uint64) {
	e.signed(t - e.last)
	e.last = t
}

func (e *encoder) value(n *node, v reflect.Value, slots []uint64) {
	switch n.form {
	case formTime:
		e.time(v.Uint())
	case formBool:
		if v.Bool() {
			e.buf = append(e.buf, 1)
		} else {
			e.buf = append(e.buf, 0)
		}
	case formUint:
		e.signed(v.Uint() - slots[n.slot])
		slots[n.slot] = v.Uint()
	case formInt:
		e.signed(uint64(v.Int()) - slots[n.slot])
		slots[n.slot] = uint64(v.Int())
	case formFloat:
		e.uvarint(bits.ReverseBytes64(math.Float64bits(v.Float())))
	case formString:
		e.text(v.String())
	case formBytes:
		e.uvarint(uint64(v.Len()))
		if v.Kind() == reflect.Slice {
			e.buf = append(e.buf, v.Bytes()...)
			return
		}
		for i := range v.Len() {
			e.buf = append(e.buf, byte(v.Index(i).Uint()))
		}
	case formText:
		// The marshalers of addresses and times fail for no value of theirs that a
		// record can have; what they cannot write is stored as nothing.
		b, _ := v.Interface().(encoding.TextMarshaler).MarshalText()
		e.text(string(b))
	case formStruct:
		for _, f := range n.fields {
			e.value(f.node, v.Field(f.index), slots)
		}
	case formList:
		e.uvarint(uint64(v.Len()))
		fallthrough
	case formArray:
		for i := range v.Len() {
			e.value(n.elem, v.Index(i), slots)
		}
	case formMap:
		e.mapping(n, v, slots)
	case formOptional:
		if v.IsNil() {
			e.buf = append(e.buf, 0)
			return
		}
		e.buf = append(e.buf, 1)
		e.value(n.elem, v.Elem(), slots)
	}
}

// mapping stores a map in the order of its keys, so that a file of the same records is
// the same bytes.
func (e *encoder) mapping(n *node, v reflect.Value, slots []uint64) {
	keys := v.MapKeys()
	slices.SortFunc(keys, compareKeys)
	e.uvarint(uint64(len(keys)))
	for _, k := range keys {
		e.value(n.key, k, slots)
		e.value(n.elem, v.MapIndex(k), slots)
	}
}

func compareKeys(a, b reflect.Value) int {
	switch {
	case a.CanUint():
		return cmp.Compare(a.Uint(), b.Uint())
	case a.CanInt():
		return cmp.Compare(a.Int(), b.Int())
	}
	return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b))
}

// text appends a string: 0 and the string when it is new in this block, else the
// number of the one that it repeats, from 1.
func (e *encoder) text(s string) {
	if n, ok := e.strings[s]; ok {
		e.uvarint(n)
		return
	}
	e.strings[s] = uint64(len(e.strings) + 1)
	e.uvarint(0)
	e.uvarint(uint64(len(s)))
	e.buf = append(e.buf, s...)
}
