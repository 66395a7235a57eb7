// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/record"
)

const second = uint64(time.Second)

// recorder makes one that has begun.
func recorder(t *testing.T, o Options) *Recorder {
	t.Helper()
	r, err := Create(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Begin(Start{}); err != nil {
		t.Fatal(err)
	}
	return r
}

// records are those of a file.
func records(t *testing.T, path string) (out []string, start *Start, end *End) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		rec, _, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, r.Start(), r.End()
		}
		if err != nil {
			t.Fatal(err)
		}
		word := fmt.Sprintf("%T %d", rec, rec.When()/second)
		if n, ok := rec.(*record.NetnsName); ok {
			word += " " + n.Name
		}
		out = append(out, strings.TrimPrefix(word, "*record."))
	}
}

func TestAFlightRecorderWritesTheLastWhileAndWhatWasKnownBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flight.ntrace")
	r := recorder(t, Options{Path: path, Last: 10 * time.Second})
	name := func(at uint64, inode uint32, name string) {
		r.Fed(&record.NetnsName{Time: record.Time(at * second), Netns: record.NetnsID{Inode: inode}, Name: name}, nil)
	}
	exit := func(at uint64) { r.Fed(&record.ThreadExit{Time: record.Time(at * second)}, nil) }
	r.Fed(&record.Clock{Time: record.Time(second)}, nil)
	name(2, 7, "old")
	name(3, 8, "gone")
	r.Fed(&record.NetnsBirth{Time: record.Time(4 * second), Netns: record.NetnsID{Inode: 8}}, nil)
	for at := uint64(5); at < 100; at++ {
		exit(at)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a file before anything was found: %v", err)
	}
	r.Trigger()
	for at := uint64(100); at < 130; at++ {
		exit(at)
	}
	r.Trigger()
	exit(130)
	if err := r.Finish(End{Time: 131 * second}); err != nil {
		t.Fatal(err)
	}
	if files := r.Files(); len(files) != 2 || filepath.Base(files[1]) != "flight.1.ntrace" {
		t.Fatalf("files %q, want two", files)
	}
	first, start, end := records(t, path)
	if first[0] != "Clock 1" || first[1] != "NetnsName 2 old" || start.Known != 2 || strings.Contains(strings.Join(first, " "), "gone") {
		t.Errorf("it begins with %q, %d of it known before", first[:3], start.Known)
	}
	// Blocks are of a second or so, and leave as a whole.
	if from := first[2]; from < "ThreadExit 88" || from > "ThreadExit 91" || first[len(first)-1] != "ThreadExit 110" {
		t.Errorf("from %q to %q, want from 90 to 110", from, first[len(first)-1])
	}
	if end.Reason != ReasonContinued || start.Before == 0 {
		t.Errorf("start %+v, end %+v", start, end)
	}
	again, start, end := records(t, r.Files()[1])
	if from := again[2]; start.Known != 2 || from < "ThreadExit 118" || from > "ThreadExit 121" || again[len(again)-1] != "ThreadExit 130" || end.Reason != ReasonFinished {
		t.Errorf("the second: %q, %+v", again, end)
	}
}

func TestAFlightRecorderKeepsToItsMemory(t *testing.T) {
	r := recorder(t, Options{Path: filepath.Join(t.TempDir(), "f.ntrace"), Last: time.Hour, MaxSize: 100_000})
	for i, s := range churn(300_000) {
		r.Fed(s.rec, s.raw)
		if i%5000 == 0 && r.flight.bytes > 100_000+50_000 {
			t.Fatalf("%d bytes are held", r.flight.bytes)
		}
	}
	if r.flight.dropped == 0 {
		t.Error("nothing had to leave: the test is too small")
	}
	if err := r.Finish(End{}); err != nil {
		t.Fatal(err)
	}
	if len(r.Files()) != 0 {
		t.Errorf("files %q, though nothing was found", r.Files())
	}
}

func TestAFullDiskIsSaid(t *testing.T) {
	r, err := Create(t.Context(), Options{Path: "/dev/full"})
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Begin(Start{})
	r.Fed(&record.Tick{Time: 1}, nil)
	err = r.Finish(End{})
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "can be read") {
		t.Errorf("%v, want that there is no space", err)
	}
}

// A write that failed in the middle of a block leaves a part of it behind.
func TestAnUnfinishedBlockIsTakenFromTheFilesEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.ntrace")
	r := recorder(t, Options{Path: path})
	r.Fed(&record.Tick{Time: 1}, nil)
	if err := r.writer.Flush(); err != nil {
		t.Fatal(err)
	}
	good := r.writer.Size()
	if _, err := r.target.Write([]byte("half a block")); err != nil {
		t.Fatal(err)
	}
	r.err = &writeError{Whole: good, Err: unix.ENOSPC}
	if err := r.Finish(End{}); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	times, err := readAll(f)
	if cut := (*CutOffError)(nil); !errors.As(err, &cut) || cut.Bytes != 0 || len(times) != 1 {
		t.Errorf("%d records, %v: want one, and nothing half", len(times), err)
	}
}

func TestAFIFOThatNobodyReadsIsGivenUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := Create(ctx, Options{Path: path}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "nobody reads") {
		t.Errorf("%v", err)
	}
}

func TestARecordingThatDoesNotBeginLeavesNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.ntrace")
	r, err := Create(t.Context(), Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	r.Discard()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}
