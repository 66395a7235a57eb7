// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"reflect"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// errPayload is what is wrong with a block whose checksum is right: its writer was.
var errPayload = errors.New("a block's contents make no sense")

// allocMax bounds what one record may make this program allocate.
const allocMax = 64 << 20

// decoder takes the records out of payloads.
type decoder struct {
	layouts []layout
	names   []string        // of the layouts' records
	values  []reflect.Value // one of each type, reused

	b       []byte
	broken  bool
	alloc   int
	last    uint64
	slots   [][]uint64
	strings []string
	raws    map[uint16]*rawState
	rawBuf  []byte
	scratch []byte
}

func newDecoder(schema *Schema) (*decoder, error) {
	layouts, err := schema.layouts(typesByName(registry()))
	if err != nil {
		return nil, err
	}
	d := &decoder{layouts: layouts, names: schema.Records, raws: make(map[uint16]*rawState)}
	for _, l := range layouts {
		value := reflect.Value{}
		if l.goType != nil {
			value = reflect.New(l.goType)
		}
		d.values = append(d.values, value)
		d.slots = append(d.slots, make([]uint64, l.slots))
	}
	return d, nil
}

// begin takes a payload.
func (d *decoder) begin(payload []byte) {
	d.b, d.broken, d.last = payload, false, 0
	for _, s := range d.slots {
		clear(s)
	}
	d.strings = d.strings[:0]
	for _, r := range d.raws {
		r.reset()
	}
}

// entry is one record of a payload: raw, or made, or neither when this version does
// not know its type.
type entry struct {
	raw     []byte
	made    record.Record
	unknown string // name of the type
}

func (d *decoder) more() bool { return len(d.b) > 0 }

// next takes the next entry. It is valid until the call after it.
func (d *decoder) next() (entry, error) {
	d.alloc = 0
	tag := d.uvarint()
	var e entry
	switch tag & 3 {
	case entryRaw, entryRawSized, entryRawTurn:
		if tag>>2 > math.MaxUint16 {
			return e, fmt.Errorf("%w: a record's type is %d", errPayload, tag>>2)
		}
		e.raw = d.raw(uint16(tag>>2), tag&3)
	case entryMade:
		if tag>>2 >= uint64(len(d.layouts)) {
			return e, fmt.Errorf("%w: a record is of a type that the file does not describe", errPayload)
		}
		l, value, slots := d.layouts[tag>>2], d.values[tag>>2], d.slots[tag>>2]
		if l.goType == nil {
			d.value(l.root, reflect.Value{}, slots)
			e.unknown = d.names[tag>>2]
			break
		}
		value.Elem().SetZero()
		d.value(l.root, value.Elem(), slots)
		e.made, _ = value.Interface().(record.Record)
	}
	if d.broken {
		return e, errPayload
	}
	return e, nil
}

func (d *decoder) fail() {
	d.b, d.broken = nil, true
}

func (d *decoder) uvarint() uint64 {
	if len(d.b) > 0 && d.b[0] < 0x80 {
		v := uint64(d.b[0])
		d.b = d.b[1:]
		return v
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) signed() uint64 {
	z := d.uvarint()
	return z>>1 ^ -(z & 1)
}

func (d *decoder) time() uint64 {
	d.last += d.signed()
	return d.last
}

// length is a stated count of things of which each takes a byte at least.
func (d *decoder) length() int {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) bytes(n int) []byte {
	if n > len(d.b) {
		d.fail()
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) raw(kind uint16, form uint64) []byte {
	state := d.raws[kind]
	if form == entryRawSized {
		size, version := d.uvarint(), d.uvarint()
		if size > rawMax-rawHeaderSize || version > math.MaxUint16 {
			d.fail()
			return nil
		}
		if state == nil {
			state = new(rawState)
			d.raws[kind] = state
		}
		state.resize(int(size))
		state.version, state.used = uint16(version), true
	} else if state == nil || !state.used {
		d.fail()
		return nil
	}
	if form != entryRawTurn {
		state.copy()
	}
	state.body, state.before = state.before, state.body
	t := d.time()
	d.words(state.body)
	d.rawBuf = append(d.rawBuf[:0], make([]byte, rawHeaderSize)...)
	le.PutUint16(d.rawBuf, kind)
	le.PutUint16(d.rawBuf[2:], state.version)
	le.PutUint32(d.rawBuf[4:], uint32(rawHeaderSize+state.size))
	le.PutUint64(d.rawBuf[8:], t)
	d.rawBuf = append(d.rawBuf, state.body[:state.size]...)
	return d.rawBuf
}

// words makes the next body of an earlier one.
func (d *decoder) words(body []byte) {
	for left := uint64(len(body) / 4); left > 0; {
		skip := d.uvarint()
		if skip > left || d.broken {
			d.fail()
			return
		}
		if left -= skip; left == 0 {
			return
		}
		word := body[len(body)-int(left)*4:]
		z := uint32(d.uvarint())
		le.PutUint32(word, le.Uint32(word)+(z>>1^-(z&1)))
		left--
	}
}

// value reads a value into v, or past it when v is not valid.
func (d *decoder) value(n *node, v reflect.Value, slots []uint64) {
	if d.broken {
		return
	}
	into := v.IsValid()
	switch n.form {
	case formTime:
		if t := d.time(); into {
			v.SetUint(t)
		}
	case formBool:
		if b := d.uvarint() != 0; into {
			v.SetBool(b)
		}
	case formUint:
		slots[n.slot] += d.signed()
		if into {
			v.SetUint(slots[n.slot])
		}
	case formInt:
		slots[n.slot] += d.signed()
		if into {
			v.SetInt(int64(slots[n.slot]))
		}
	case formFloat:
		if f := math.Float64frombits(bits.ReverseBytes64(d.uvarint())); into {
			v.SetFloat(f)
		}
	case formString:
		if s := d.text(); into {
			v.SetString(s)
		}
	case formBytes:
		d.blob(v)
	case formText:
		if s := d.text(); into && s != "" {
			d.scratch = append(d.scratch[:0], s...)
			if v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText(d.scratch) != nil {
				d.fail()
			}
		}
	case formStruct:
		for _, f := range n.fields {
			field := reflect.Value{}
			if into && f.index >= 0 {
				field = v.Field(f.index)
			}
			d.value(f.node, field, slots)
		}
	case formList:
		d.list(n, v, slots)
	case formArray:
		for i := range n.length {
			elem := reflect.Value{}
			if into && i < v.Len() {
				elem = v.Index(i)
			}
			d.value(n.elem, elem, slots)
		}
	case formMap:
		d.mapping(n, v, slots)
	case formOptional:
		if d.uvarint() == 0 || d.broken {
			return
		}
		elem := reflect.Value{}
		if into && d.spend(int(v.Type().Elem().Size())) {
			v.Set(reflect.New(v.Type().Elem()))
			elem = v.Elem()
		}
		d.value(n.elem, elem, slots)
	}
}

// spend keeps the memory that a record takes within bounds.
func (d *decoder) spend(size int) bool {
	if d.alloc += size; d.alloc > allocMax {
		d.fail()
		return false
	}
	return true
}

func (d *decoder) blob(v reflect.Value) {
	b := d.bytes(d.length())
	switch {
	case !v.IsValid() || d.broken:
	case v.Kind() == reflect.Slice:
		if len(b) > 0 {
			v.SetBytes(append([]byte(nil), b...))
		}
	default:
		reflect.Copy(v, reflect.ValueOf(b[:min(len(b), v.Len())]))
	}
}

func (d *decoder) list(n *node, v reflect.Value, slots []uint64) {
	count := d.length()
	if v.IsValid() && count > 0 {
		if !d.spend(count * int(v.Type().Elem().Size())) {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), count, count))
	}
	for i := 0; i < count && !d.broken; i++ {
		elem := reflect.Value{}
		if v.IsValid() {
			elem = v.Index(i)
		}
		d.value(n.elem, elem, slots)
	}
}

func (d *decoder) mapping(n *node, v reflect.Value, slots []uint64) {
	count := d.length()
	into := v.IsValid() && count > 0
	if into {
		if !d.spend(count * int(v.Type().Key().Size()+v.Type().Elem().Size())) {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
	}
	for i := 0; i < count && !d.broken; i++ {
		key, elem := reflect.Value{}, reflect.Value{}
		if into {
			key, elem = reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		}
		d.value(n.key, key, slots)
		d.value(n.elem, elem, slots)
		if into && !d.broken {
			v.SetMapIndex(key, elem)
		}
	}
}

func (d *decoder) text() string {
	n := d.uvarint()
	if n == 0 {
		b := d.bytes(d.length())
		if d.broken {
			return ""
		}
		d.strings = append(d.strings, string(b))
		return d.strings[len(d.strings)-1]
	}
	if n > uint64(len(d.strings)) {
		d.fail()
		return ""
	}
	return d.strings[n-1]
}
