// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"
)

// small is a recording of several blocks, and the offsets at which they end.
func small(t testing.TB) (file []byte, blocks []int, times []uint64) {
	t.Helper()
	all := steps(t, 2)
	var out bytes.Buffer
	w, err := newWriter(&out, &Start{Tool: "test"})
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range all {
		if err := w.Add(s.rec, s.raw); err != nil {
			t.Fatal(err)
		}
		if i%10 == 9 {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			blocks = append(blocks, out.Len())
		}
		times = append(times, s.rec.When())
	}
	if err := w.Close(&End{Reason: ReasonFinished}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), blocks, times
}

// readAll reads until it cannot go on, and returns what came and why it ended.
func readAll(file io.Reader) (times []uint64, err error) {
	r, err := NewReader(file)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for {
		rec, _, err := r.Next()
		if err != nil {
			return times, err
		}
		times = append(times, rec.When())
	}
}

// recordsIn is how many records are in the blocks that are whole in n bytes.
func recordsIn(blocks []int, n, all int) int {
	whole := 0
	for _, end := range blocks {
		if end <= n {
			whole += 10
		}
	}
	if len(blocks) > 0 && whole == 10*len(blocks) && n > blocks[len(blocks)-1] {
		return all // the last block is shorter; the caller knows better
	}
	return whole
}

func TestAFileCutAtAnyPointIsReadUpToThere(t *testing.T) {
	file, blocks, times := small(t)
	step := 1
	if testing.Short() {
		step = 13
	}
	for n := 0; n < len(file); n += step {
		got, err := readAll(bytes.NewReader(file[:n]))
		if n == 0 && errors.Is(err, ErrNotRecording) {
			continue
		}
		cut := (*CutOffError)(nil)
		if !errors.As(err, &cut) {
			t.Fatalf("cut after %d bytes of %d: %v, want a CutOffError", n, len(file), err)
		}
		if cut.Offset+cut.Bytes != int64(n) {
			t.Fatalf("cut after %d bytes: said to be whole up to %d, with %d more", n, cut.Offset, cut.Bytes)
		}
		if want := recordsIn(blocks, n, len(times)); want < len(times) && len(got) != want {
			t.Fatalf("cut after %d bytes: %d records, want %d", n, len(got), want)
		}
		for i := range got {
			if got[i] != times[i] {
				t.Fatalf("cut after %d bytes: record %d is another", n, i)
			}
		}
	}
	if got, err := readAll(bytes.NewReader(file)); !errors.Is(err, io.EOF) || len(got) != len(times) {
		t.Errorf("the whole file: %d records of %d, %v", len(got), len(times), err)
	}
}

// flips is how many random changes are tried; -short tries fewer.
const flips = 100_000

func TestADamagedFileIsReadUpToTheDamage(t *testing.T) {
	file, blocks, times := small(t)
	rng := rand.New(rand.NewPCG(5, 6))
	tries := flips
	if testing.Short() {
		tries /= 200
	}
	for range tries {
		at, bit := rng.IntN(len(file)), byte(1)<<rng.IntN(8)
		file[at] ^= bit
		got, err := readAll(bytes.NewReader(file))
		if err == nil || errors.Is(err, io.EOF) {
			t.Fatalf("bit %#x of byte %d: not noticed", bit, at)
		}
		if want := recordsIn(blocks, at, len(times)); want < len(times) && len(got) != want {
			t.Fatalf("bit %#x of byte %d: %d records before the damage, want %d: %v", bit, at, len(got), want, err)
		}
		for i := range got {
			if got[i] != times[i] {
				t.Fatalf("bit %#x of byte %d: record %d before the damage is another", bit, at, i)
			}
		}
		if damaged := (*DamagedError)(nil); errors.As(err, &damaged) && damaged.Offset > int64(at) {
			t.Fatalf("bit %#x of byte %d: said to be good up to %d", bit, at, damaged.Offset)
		}
		file[at] ^= bit
	}
}

func TestWhatIsNoRecordingIsSaidToBeNone(t *testing.T) {
	newer := fileHeader()
	le.PutUint16(newer[len(magic):], 9)
	le.PutUint16(newer[len(magic)+2:], 7)
	copy(newer[len(magic)+4:], sumOf(newer[:len(magic)+4]))
	for name, test := range map[string]struct {
		file []byte
		is   func(error) bool
	}{
		"a text":         {[]byte("PRETTY_NAME=\"Debian\"\n"), func(err error) bool { return errors.Is(err, ErrNotRecording) }},
		"nothing":        {nil, func(err error) bool { return errors.Is(err, ErrNotRecording) }},
		"a newer format": {newer, func(err error) bool { return errors.As(err, new(*NewerFormatError)) }},
		"only a header":  {fileHeader(), func(err error) bool { return errors.As(err, new(*CutOffError)) }},
	} {
		if _, err := readAll(bytes.NewReader(test.file)); !test.is(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func sumOf(b []byte) []byte {
	var out [4]byte
	le.PutUint32(out[:], crc32.Checksum(b, castagnoli))
	return out[:]
}

// A file that grows while it is read.
func TestAGrowingFileIsReadOn(t *testing.T) {
	file, _, times := small(t)
	growing := new(bytes.Buffer)
	growing.Write(file[:len(file)/3])
	r, err := NewReader(growing)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rest := file[len(file)/3:]
	var got []uint64
	for {
		rec, _, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if errors.As(err, new(*CutOffError)) {
			n := min(97, len(rest))
			if n == 0 {
				t.Fatal("the end was not seen")
			}
			growing.Write(rest[:n])
			rest = rest[n:]
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, rec.When())
	}
	if len(got) != len(times) {
		t.Errorf("%d records, want %d", len(got), len(times))
	}
}

// fixed has a file's checksums put right, so that what follows them is tried too.
func fixed(file []byte) []byte {
	if len(file) < fileHeaderSize {
		return file
	}
	le.PutUint32(file[len(magic)+4:], crc32.Checksum(file[:len(magic)+4], castagnoli))
	for at := fileHeaderSize; at+blockHeaderSize <= len(file); {
		end := at + blockHeaderSize + int(le.Uint32(file[at+12:]))
		if end > len(file) || end < at {
			break
		}
		le.PutUint32(file[at+20:], blockSum(file[at:end]))
		at = end
	}
	return file
}

func FuzzReader(f *testing.F) {
	file, _, _ := small(f)
	f.Add(file)
	plain := []byte{}
	plain = append(plain, fileHeader()...)
	f.Add(plain)
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = readAll(bytes.NewReader(fixed(bytes.Clone(b))))
	})
}

// FuzzPayload reads blocks whose checksum would be right.
func FuzzPayload(f *testing.F) {
	schema, err := describe(registry())
	if err != nil {
		f.Fatal(err)
	}
	e, err := newEncoder(schema, registry())
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range steps(f, 1) {
		e.reset()
		if s.raw != nil {
			err = e.raw(s.raw)
		} else {
			err = e.made(s.rec)
		}
		if err != nil {
			f.Fatal(err)
		}
		f.Add(bytes.Clone(e.buf))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := newDecoder(schema)
		if err != nil {
			t.Fatal(err)
		}
		r := &Reader{decoder: d, Unknown: make(map[string]uint64)}
		d.begin(b)
		for n := 0; d.more(); n++ {
			e, err := d.next()
			if err != nil {
				return
			}
			if rec, _, err := r.known(e); err == nil && rec != nil {
				rec.When()
			}
			if n > len(b) {
				t.Fatal("more records than bytes")
			}
		}
	})
}
