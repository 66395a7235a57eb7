// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestFramesReadBack(t *testing.T) {
	spec := Spec{Argv: []string{"ip", "link"}, Env: []string{"A=b"}, Dir: "/tmp", Terminal: &Size{Rows: 24, Columns: 80}}
	payload, err := Encode(spec)
	if err != nil {
		t.Fatal(err)
	}
	sent := []Frame{
		{Type: Start, ID: 7, Payload: payload},
		{Type: Ping},
		{Type: Stdout, ID: 1<<32 - 1, Payload: bytes.Repeat([]byte{0xff}, MaxPayload)},
		{Type: AckOutput, ID: 7, Payload: Number(1 << 31)},
		{Type: Resize, ID: 7, Payload: EncodeSize(Size{Rows: 50, Columns: 300})},
	}
	var line bytes.Buffer
	w := NewWriter(&line)
	for _, f := range sent {
		if err := w.Write(f); err != nil {
			t.Fatal(err)
		}
	}
	var got []Frame
	for {
		f, err := Read(&line)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, f)
	}
	if !reflect.DeepEqual(got, sent) {
		t.Fatal("the frames read differ from those written")
	}
	var again Spec
	if err := got[0].Decode(&again); err != nil || !reflect.DeepEqual(again, spec) {
		t.Errorf("decoded %+v, %v", again, err)
	}
	if n, err := got[3].Number(); n != 1<<31 || err != nil {
		t.Errorf("number %d, %v", n, err)
	}
	if size, err := got[4].Size(); size != (Size{50, 300}) || err != nil {
		t.Errorf("size %v, %v", size, err)
	}
}

func TestReadRefusesNonsense(t *testing.T) {
	tests := []struct {
		name, bytes string
		want        error
	}{
		{"nothing is the end", "", io.EOF},
		{"a shell prompt on the line", "login: lab# ", ErrFrame},
		{"an unknown type", "\x00\x00\x00\x00\x00\x00\x00\x00\x00", ErrFrame},
		{"a huge size", "\x01\x00\x00\x00\x00\xff\xff\xff\x7f", ErrFrame},
		{"cut in the header", "\x01\x00\x00", io.ErrUnexpectedEOF},
		{"cut in the payload", "\x01\x00\x00\x00\x00\x04\x00\x00\x00ab", io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Read(strings.NewReader(tt.bytes)); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestWriteRefusesWhatReadWould(t *testing.T) {
	var line bytes.Buffer
	if err := NewWriter(&line).Write(Frame{Type: Stdout, Payload: make([]byte, MaxPayload+1)}); err == nil || line.Len() > 0 {
		t.Errorf("err %v, %d bytes written", err, line.Len())
	}
}

func TestWriterKeepsFramesWhole(t *testing.T) {
	var line bytes.Buffer
	w := NewWriter(&line)
	var senders sync.WaitGroup
	for id := range uint32(8) {
		senders.Go(func() {
			for range 100 {
				if err := w.Write(Frame{Type: Stdout, ID: id, Payload: bytes.Repeat([]byte{byte(id)}, 100)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	senders.Wait()
	for range 800 {
		f, err := Read(&line)
		if err != nil || !bytes.Equal(f.Payload, bytes.Repeat([]byte{byte(f.ID)}, 100)) {
			t.Fatalf("frame %+v, %v", f, err)
		}
	}
}

func TestWindow(t *testing.T) {
	w := NewWindow(10)
	if n := w.Take(4); n != 4 {
		t.Errorf("took %d of 10, asked for 4", n)
	}
	if n := w.Take(100); n != 6 {
		t.Errorf("took %d, 6 were left", n)
	}
	got := make(chan int)
	go func() { got <- w.Take(3) }()
	select {
	case n := <-got:
		t.Fatalf("took %d of an empty window", n)
	case <-time.After(20 * time.Millisecond):
	}
	w.Give(2)
	if n := <-got; n != 2 {
		t.Errorf("took %d, 2 were given back", n)
	}
	go func() { got <- w.Take(1) }()
	w.Close()
	if n := <-got; n != 0 {
		t.Errorf("took %d of a closed window", n)
	}
	w.Give(5)
	if n := w.Take(1); n != 0 {
		t.Errorf("took %d after it was closed", n)
	}
}

func FuzzRead(f *testing.F) {
	var line bytes.Buffer
	if err := NewWriter(&line).Write(Frame{Type: Exited, ID: 3, Payload: []byte(`{"Code":1}`)}); err != nil {
		f.Fatal(err)
	}
	f.Add(line.Bytes())
	f.Add([]byte("\x01\x00\x00\x00\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := NewWriter(&out).Write(frame); err != nil {
			t.Fatalf("a frame that was read cannot be written: %v", err)
		}
		if !bytes.HasPrefix(data, out.Bytes()) {
			t.Errorf("written back as %x, read from %x", out.Bytes(), data)
		}
		// Whatever the payload is, its readers must give an error, not panic.
		_ = frame.Decode(&Greeting{})
		_ = frame.Decode(&Spec{})
		_ = frame.Decode(&Exit{})
		_, _ = frame.Number()
		_, _ = frame.Size()
	})
}
