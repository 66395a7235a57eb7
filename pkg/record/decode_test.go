// SPDX-License-Identifier: Apache-2.0

package record

import (
	"errors"
	"testing"
)

// raw makes a record of a type with a body of zeros, of the size that it needs.
func raw(kind uint16) []byte {
	b := make([]byte, headerSize+bodySize[kind])
	le.PutUint16(b, kind)
	le.PutUint16(b[2:], 1)
	le.PutUint32(b[4:], uint32(len(b)))
	le.PutUint64(b[8:], 7)
	return b
}

func TestEveryTypeIsDecodedAndLongerOnesToo(t *testing.T) {
	var d Decoder
	for kind := range bodySize {
		for _, extra := range []int{0, 8} { // a newer writer has appended a field
			b := append(raw(kind), make([]byte, extra)...)
			le.PutUint32(b[4:], uint32(len(b)))
			rec, err := d.Decode(b)
			if err != nil {
				t.Errorf("type %d with %d bytes more: %v", kind, extra, err)
			} else if rec.When() != 7 {
				t.Errorf("type %d: time %d, want 7", kind, rec.When())
			}
		}
	}
}

func TestWhatIsNoRecordIsRefused(t *testing.T) {
	var d Decoder
	short := raw(typeThreadExit)
	short = short[:len(short)-1]
	lying := raw(typeThreadExit)
	le.PutUint32(lying[4:], 1<<31)
	small := raw(typeThreadExit)
	le.PutUint32(small[4:], 16)
	for name, b := range map[string][]byte{
		"nothing": nil, "half a header": make([]byte, 9), "cut off": short,
		"a size beyond its end": lying, "a size below its fields": small,
	} {
		if _, err := d.Decode(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: error %v, want ErrMalformed", name, err)
		}
	}
	unknown := raw(typeThreadExit)
	le.PutUint16(unknown, 999)
	if _, err := d.Decode(unknown); !errors.As(err, new(*UnknownTypeError)) {
		t.Errorf("type 999: error %v, want UnknownTypeError", err)
	}
}

func TestStackLengthsAreNotTrusted(t *testing.T) {
	b := raw(typeThreadClone)
	at := headerSize + 2*threadSize + 2*netnsSize + 16
	le.PutUint32(b[at:], 1<<30)
	for i := at + 8; i < len(b); i++ {
		b[i] = 1
	}
	rec, err := new(Decoder).Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(rec.(*ThreadClone).Stacks.Kernel); n != stackDepth {
		t.Errorf("a stack that says 2^30 bytes has %d frames, want the %d that there are", n, stackDepth)
	}
}

func TestNamesDoNotGrowWithoutBound(t *testing.T) {
	var d Decoder
	b := raw(typeThreadExit)
	for i := range 3 * commCacheMax {
		le.PutUint32(b[headerSize+16:], uint32(i)|0x01000000)
		if _, err := d.Decode(b); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(d.comms.m); n > commCacheMax {
		t.Errorf("%d process names are kept, at most %d should be", n, commCacheMax)
	}
}

func TestDestination(t *testing.T) {
	for _, test := range []struct {
		name    string
		address []byte
		want    string
	}{
		{"IPv4", []byte{2, 0, 1, 187, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0}, "192.0.2.1:443"},
		{"IPv6", append([]byte{10, 0, 0, 53, 0, 0, 0, 0, 0x20, 1, 0xd, 0xb8}, append(make([]byte, 11), 1, 0, 0, 0, 0)...), "[2001:db8::1]:53"},
		{"IPv6 cut off", []byte{10, 0, 0, 53, 0, 0, 0, 0, 0x20, 1}, ""},
		{"a Unix socket's path", []byte{1, 0, '/', 'r', 'u', 'n', '/', 'x'}, ""},
		{"nothing", nil, ""},
	} {
		to, ok := (&StrandedCall{Address: test.address}).Destination()
		if got := to.String(); ok != (test.want != "") || ok && got != test.want {
			t.Errorf("%s: %s (%v), want %q", test.name, got, ok, test.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for kind := range bodySize {
		f.Add(raw(kind))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var d Decoder
		rec, err := d.Decode(b)
		if (rec == nil) == (err == nil) {
			t.Errorf("record %v and error %v", rec, err)
		}
		if call, ok := rec.(*StrandedCall); ok {
			call.Destination()
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for name, kind := range map[string]uint16{"ThreadExit": typeThreadExit, "DevWait": typeDevWait, "ThreadClone": typeThreadClone} {
		b.Run(name, func(b *testing.B) {
			var d Decoder
			bytes := raw(kind)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Decode(bytes); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
