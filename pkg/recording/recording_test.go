// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netns-trace/netns-trace/pkg/record"
)

// fill sets every field of a value to something that is not zero.
func fill(v reflect.Value, rng *rand.Rand) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(-1 - rng.Int64N(100))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rng.Uint64() >> (64 - v.Type().Bits()))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(1.5)
	case reflect.String:
		v.SetString([]string{"veth1", "redis0", "x\x00y\u00e9"}[rng.IntN(3)])
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), rng)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), rng)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 3 {
			key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, rng)
			fill(elem, rng)
			v.SetMapIndex(key, elem)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[netip.AddrPort]() {
			v.Set(reflect.ValueOf(netip.MustParseAddrPort("[2001:db8::1]:53")))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), rng)
		}
	}
}

// rawRecord is a record of the ring with a body of such numbers as the kernel writes.
func rawRecord(kind uint16, at uint64, rng *rand.Rand) []byte {
	size, _ := record.WireSize(kind)
	b := make([]byte, size)
	binary.LittleEndian.PutUint16(b, kind)
	binary.LittleEndian.PutUint16(b[2:], 1)
	binary.LittleEndian.PutUint32(b[4:], uint32(size))
	binary.LittleEndian.PutUint64(b[8:], at)
	for i := rawHeaderSize; i < size; i += 4 + rng.IntN(40) {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// step is what is added to a recording.
type step struct {
	rec record.Record
	raw []byte
}

// steps are records of all types and both origins.
func steps(t testing.TB, rounds int) []step {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	var out []step
	at := uint64(1_000_000_000)
	for range rounds {
		for _, typ := range registry() {
			v := reflect.New(typ)
			fill(v.Elem(), rng)
			at += rng.Uint64N(1000)
			v.Elem().FieldByName("Time").SetUint(at)
			out = append(out, step{rec: v.Interface().(record.Record)})
		}
		for _, wire := range record.WireTypes() {
			at += rng.Uint64N(1000)
			raw := rawRecord(wire.Type, at, rng)
			rec, err := new(record.Decoder).Decode(raw)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, step{rec, raw})
		}
	}
	return out
}

// write makes a whole recording in memory.
func write(t testing.TB, steps []step) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := newWriter(&out, &Start{Tool: "test"})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		if err := w.Add(s.rec, s.raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(&End{Reason: ReasonFinished}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestWhatIsWrittenIsReadBackAsItWas(t *testing.T) {
	want := steps(t, 100)
	file := write(t, want)
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i, s := range want {
		rec, raw, err := r.Next()
		if err != nil {
			t.Fatalf("record %d of %d: %v", i, len(want), err)
		}
		if !bytes.Equal(raw, s.raw) {
			t.Fatalf("record %d, %T: other bytes than were written:\n%x\n%x", i, s.rec, raw, s.raw)
		}
		if diff := cmp.Diff(s.rec, rec, cmp.Comparer(slices.Equal[[]uint64]), cmp.Comparer(bytes.Equal), cmp.Comparer(equal[netip.AddrPort])); diff != "" {
			t.Fatalf("record %d: (-written +read)\n%s", i, diff)
		}
	}
	if _, _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last record: %v, want io.EOF", err)
	}
	if r.End().Records != uint64(len(want)) || r.End().Reason != ReasonFinished {
		t.Errorf("end section %+v, want %d records", r.End(), len(want))
	}
}

func equal[T comparable](a, b T) bool { return a == b }

// A file of this version, read by one that has other types.
func TestTypesAreMatchedByTheirNames(t *testing.T) {
	type Known struct {
		record.Time
		Old  string
		Gone []uint32
	}
	type Strange struct{ record.Time }
	schema, err := describe([]reflect.Type{reflect.TypeFor[Strange](), reflect.TypeFor[Known]()})
	if err != nil {
		t.Fatal(err)
	}
	e, err := newEncoder(schema, []reflect.Type{reflect.TypeFor[Strange](), reflect.TypeFor[Known]()})
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range []record.Record{&Strange{Time: 1}, &Known{Time: 2, Old: "kept", Gone: []uint32{1, 2}}, &Known{Time: 3, Old: "kept"}} {
		if err := e.made(rec); err != nil {
			t.Fatal(err)
		}
	}
	payload := e.buf

	type now struct {
		record.Time
		New string
		Old string
	}
	layouts, err := schema.layouts(map[string]reflect.Type{"Known": reflect.TypeFor[now]()})
	if err != nil {
		t.Fatal(err)
	}
	d := &decoder{layouts: layouts, names: schema.Records, raws: make(map[uint16]*rawState)}
	for _, l := range layouts {
		v := reflect.Value{}
		if l.goType != nil {
			v = reflect.New(l.goType)
		}
		d.values, d.slots = append(d.values, v), append(d.slots, make([]uint64, l.slots))
	}
	d.begin(payload)
	var got []string
	for d.more() {
		entry, err := d.next()
		if err != nil {
			t.Fatal(err)
		}
		if entry.made == nil {
			got = append(got, "unknown "+entry.unknown)
		} else {
			got = append(got, entry.made.(*now).Old)
		}
	}
	if want := []string{"unknown Strange", "kept", "kept"}; !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
}

// Before a field was appended, records of the ring were shorter.
func TestShorterRecordsOfAnOlderVersionAreRead(t *testing.T) {
	raw := rawRecord(1, 5, rand.New(rand.NewPCG(3, 4)))
	raw = raw[:len(raw)-200]
	binary.LittleEndian.PutUint32(raw[4:], uint32(len(raw)))
	r, err := NewReader(bytes.NewReader(write(t, []step{{&record.Tick{Time: 5}, raw}})))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rec, got, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := rec.(*record.NetnsSwitch); !ok || !bytes.Equal(got, raw) {
		t.Errorf("read %T of %d bytes, want a NetnsSwitch of the %d that were written", rec, len(got), len(raw))
	}
}

func TestARecordThatFillsABlockIsWrittenAndOneBeyondIsCounted(t *testing.T) {
	some := func(n int) *record.AwayThreads {
		r := &record.AwayThreads{Time: 7}
		for i := range n {
			r.Threads = append(r.Threads, record.AwayThread{TGID: uint32(i) * 7919, TID: uint32(i) * 104729, Since: uint64(i) << 40})
		}
		return r
	}
	var out bytes.Buffer
	w, err := newWriter(&out, &Start{})
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range []record.Record{some(10), some(100_000), some(500_000), some(11)} {
		if err := w.Add(rec, nil); err != nil {
			t.Fatal(err)
		}
	}
	end := new(End)
	if err := w.Close(end); err != nil {
		t.Fatal(err)
	}
	if end.Records != 3 || end.TooLarge != 1 {
		t.Errorf("%d records and %d too large, want 3 and 1", end.Records, end.TooLarge)
	}
	r, err := NewReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, want := range []int{10, 100_000, 11} {
		rec, _, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if got := len(rec.(*record.AwayThreads).Threads); got != want {
			t.Errorf("%d threads, want %d", got, want)
		}
	}
	if _, _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func TestRecordsOfTheRingAreReadAsTheyWere(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var before, sent [][]byte
	for n := range 5000 {
		size := rawHeaderSize + []int{8, 61, 64, 200, 608}[random.IntN(5)]
		b := make([]byte, size)
		if n > 4 && random.IntN(3) > 0 { // like one of the last few, a word of it changed
			b = bytes.Clone(sent[n-1-random.IntN(4)])
			b[rawHeaderSize+random.IntN(len(b)-rawHeaderSize)]++
		} else {
			le.PutUint16(b, uint16(1+random.IntN(3)))
			le.PutUint16(b[2:], uint16(1+random.IntN(2)))
			le.PutUint32(b[4:], uint32(len(b)))
		}
		le.PutUint64(b[8:], random.Uint64())
		sent = append(sent, b)
	}
	schema, err := describe(registry())
	if err != nil {
		t.Fatal(err)
	}
	e, err := newEncoder(schema, registry())
	if err != nil {
		t.Fatal(err)
	}
	d := &decoder{raws: make(map[uint16]*rawState)}
	for block := range 5 {
		e.reset()
		before, sent = sent[:1000], sent[1000:]
		for _, b := range before {
			if err := e.raw(b); err != nil {
				t.Fatal(err)
			}
		}
		d.begin(e.buf)
		for i, want := range before {
			got, err := d.next()
			if err != nil || !bytes.Equal(got.raw, want) {
				t.Fatalf("block %d, record %d: %x, %v, want %x", block, i, got.raw, err, want)
			}
		}
	}
}

func TestWhatComesBackIsLikeWhatWasBefore(t *testing.T) {
	e := &encoder{raws: make(map[uint16]*rawState)}
	there, back := make([]byte, rawHeaderSize+512), make([]byte, rawHeaderSize+512)
	for i := range there[rawHeaderSize:] {
		there[rawHeaderSize+i] = byte(i * 7)
	}
	size := 0
	for n := range 10 {
		for _, b := range [][]byte{there, back} {
			le.PutUint16(b, 1)
			le.PutUint32(b[4:], uint32(len(b)))
			le.PutUint64(b[8:], uint64(n))
			if err := e.raw(b); err != nil {
				t.Fatal(err)
			}
		}
		if n == 1 {
			size = len(e.buf)
		}
	}
	if grew := len(e.buf) - size; grew > 8*2*8 {
		t.Errorf("16 records of which nothing is new take %d bytes", grew)
	}
}
