// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/recording"
	"github.com/netns-trace/netns-trace/pkg/report"
	"github.com/netns-trace/netns-trace/pkg/trace"
)

// storyRecords are the records of a host on which a thread is stranded, a device waits
// and is freed, and records are lost: some as bytes of the ring, as they come there.
func storyRecords(t testing.TB) (records []record.Record, raws [][]byte) {
	const second = uint64(time.Second)
	at := 100 * second
	home, redis := record.NetnsID{Cookie: 1, Inode: 4026531840}, record.NetnsID{Cookie: 9, Inode: 4026532132}
	parent := record.Thread{TGID: 800, TID: 801, Start: 50 * second, Comm: "dockerd"}
	child := record.Thread{TGID: 800, TID: 810, Start: at, Comm: "dockerd"}
	add := func(rec record.Record) { records, raws = append(records, rec), append(raws, nil) }
	add(&record.Clock{Time: record.Time(at), Realtime: 1_790_000_000_000_000_000, Boottime: at})
	add(&record.Setup{Time: record.Time(at), RefcountBase: 1, RefcountBaseKnown: true, SeesFree: true})
	add(&record.NetnsName{Time: record.Time(at), Netns: home, Name: "host"})
	add(&record.NetnsName{Time: record.Time(at), Netns: redis, Name: "redis0", Container: "0123456789abcdef", ContainerName: "redis"})
	add(&record.ProcessName{Time: record.Time(at), TGID: 800, Container: "cafe", ContainerName: "dind"})
	for i, text := range []string{"copy_process+0x241f/0x2800", "kernel_clone+0xc2/0x430"} {
		add(&record.Symbol{Time: record.Time(at), Addr: 0xffffffff81000000 + uint64(i), Text: text})
	}
	stacks := record.Stacks{Kernel: []uint64{0xffffffff81000000, 0xffffffff81000001}}
	add(&record.ThreadClone{
		Time: record.Time(at + second), Parent: parent, Child: child, Home: home, Away: redis,
		LeftHome: at + second - 40_000_000, Threads: 12, Stacks: stacks,
	})
	add(&record.Loss{Time: record.Time(at + second + 1), Detector: "threads", Cause: "user_stack", Count: 3, DetailOnly: true})
	add(&record.NetnsSwitch{Time: record.Time(at + 2*second), Thread: parent, Home: home, From: redis, To: home, Threads: 13, Clones: 1})
	add(&record.StrandedCall{
		Time: record.Time(at + 3*second), Thread: child, Netns: redis, Call: record.CallConnect, Result: -101,
		Sockets: 1, Connects: 1, Failures: 1, Address: []byte{2, 0, 1, 187, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0},
	})
	for n := range uint64(12) {
		raw := devWait(at+(4+n)*second, "veth1", redis)
		rec, err := new(record.Decoder).Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		records, raws = append(records, rec), append(raws, raw)
		add(&record.Tick{Time: record.Time(at + (4+n)*second + 1000)})
	}
	add(&record.ThreadExit{Time: record.Time(at + 20*second), Thread: child, Netns: redis, Sockets: 4, Connects: 4, Failures: 4})
	add(&record.DevFree{Time: record.Time(at + 21*second), Dev: 0xffff888100000000, Netns: redis, Ifindex: 2, Name: "veth1"})
	return records, raws
}

// devWait is a record as a program writes it: struct dev_wait_record.
func devWait(at uint64, name string, netns record.NetnsID) []byte {
	size, _ := record.WireSize(9)
	b := make([]byte, size)
	put := binary.LittleEndian
	put.PutUint16(b, 9)
	put.PutUint16(b[2:], 1)
	put.PutUint32(b[4:], uint32(size))
	put.PutUint64(b[8:], at)
	put.PutUint64(b[16:], 0xffff888100000000)
	put.PutUint64(b[32:], netns.Cookie)
	put.PutUint32(b[40:], netns.Inode)
	put.PutUint32(b[48:], 3) // refcount
	put.PutUint32(b[52:], 1)
	put.PutUint32(b[56:], 2)
	copy(b[64:], name)
	return b
}

func testConfig() recording.Config {
	return recording.Config{Classes: probe.Detectors(), AwayNS: int64(5 * time.Second), CsumEvery: 1, CsumPerSecond: 10000}
}

// recordIncident does what a live run does: the findings that it prints, and the files
// that it writes.
func recordIncident(t *testing.T, o recording.Options) (json, text string, files []string) {
	t.Helper()
	r, err := recording.Create(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	records, raws := storyRecords(t)
	clock := records[0].(*record.Clock)
	zone := recording.Zone{Name: "TST", Offset: 3600}
	if err := r.Begin(recording.Start{
		Config: testConfig(), Zone: zone,
		Clock: recording.Clocks{Monotonic: clock.When(), Realtime: clock.Realtime, Boottime: clock.Boottime},
	}); err != nil {
		t.Fatal(err)
	}
	known := new(finding.Knowledge)
	known.SetZone(zone.Location())
	detectors, _ := newDetectors(testConfig(), known)
	var asJSON, asText bytes.Buffer
	engine := trace.NewEngine(known, func(f *finding.Finding) {
		r.Trigger()
		for _, w := range []report.Writer{report.JSON{W: &asJSON}, report.Text{W: &asText, Zone: zone.Location()}} {
			if err := w.Write(f); err != nil {
				t.Fatal(err)
			}
		}
	}, detectors...)
	engine.SetTap(r)
	for i, rec := range records {
		engine.FeedRaw(rec, raws[i])
	}
	if err := r.Finish(recording.End{Time: records[len(records)-1].When()}); err != nil {
		t.Fatal(err)
	}
	if asJSON.Len() == 0 {
		t.Fatal("nothing was found live")
	}
	return asJSON.String(), asText.String(), r.Files()
}

// reported runs report as main does.
func reported(t *testing.T, o reportOptions, paths ...string) (string, error) {
	t.Helper()
	if err := o.check(); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	failed := o.run(t.Context(), paths, out)
	b, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b), failed
}

func TestAReportIsWhatLivePrinted(t *testing.T) {
	wantJSON, wantText, files := recordIncident(t, recording.Options{Path: filepath.Join(t.TempDir(), "a.ntrace")})
	for _, o := range []reportOptions{{format: "json", color: "auto"}, {format: "json", color: "auto", follow: true}} {
		got, err := reported(t, o, files...)
		if !errors.Is(err, errFound) {
			t.Errorf("error %v, want that something was found", err)
		}
		if got != wantJSON {
			t.Errorf("reported:\n%s\nprinted live:\n%s", got, wantJSON)
		}
	}
	got, _ := reported(t, reportOptions{format: "text", color: "auto"}, files...)
	verdict, findings, _ := strings.Cut(got, "\n\n")
	if findings != wantText {
		t.Errorf("reported:\n%s\nprinted live:\n%s", findings, wantText)
	}
	if lines := strings.Split(verdict, "\n"); len(lines) != 3 || !strings.HasPrefix(lines[0], "found ") ||
		!strings.HasPrefix(lines[1], "evidence ") || !strings.HasPrefix(lines[2], "recorded ") {
		t.Errorf("the verdict is not three lines:\n%s", verdict)
	}
	st, err := os.Stat(files[0])
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v (%v), want 0600", st.Mode(), err)
	}
}

func TestAFlightRecorderTellsTheSameOfWhatItHeld(t *testing.T) {
	want, _, files := recordIncident(t, recording.Options{Path: filepath.Join(t.TempDir(), "f.ntrace"), Last: time.Hour})
	if len(files) != 1 {
		t.Fatalf("files %q, want one", files)
	}
	if got, _ := reported(t, reportOptions{format: "json", color: "auto"}, files...); got != want {
		t.Errorf("reported:\n%s\nprinted live:\n%s", got, want)
	}
}

func TestAFileIsNotOverwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "taken")
	if err := os.WriteFile(path, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, o := range []recording.Options{{Path: path}, {Path: path, Last: time.Minute}} {
		if _, err := recording.Create(t.Context(), o); !errors.Is(err, os.ErrExist) {
			t.Errorf("%+v: %v, want ErrExist", o, err)
		}
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Errorf("the file has %q", b)
	}
}

func TestWhatCannotBeReportedIsSaidSo(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		text:                          "not a recording",
		filepath.Join(dir, "missing"): "no such file",
		dir:                           "is a directory",
	} {
		o := reportOptions{format: "text", color: "auto"}
		if _, err := reported(t, o, path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func TestBadFilesAreSaidToBeSo(t *testing.T) {
	_, _, files := recordIncident(t, recording.Options{Path: filepath.Join(t.TempDir(), "a.ntrace")})
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	header := func(change func(b []byte)) []byte {
		b := bytes.Clone(whole)
		change(b)
		binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[:12], crc32.MakeTable(crc32.Castagnoli)))
		return b
	}
	middle := bytes.Clone(whole)
	middle[len(middle)*3/4]++
	for _, test := range []struct {
		name, want string // in the error or in the report
		bytes      []byte
		reported   bool
	}{
		{"an empty file", "not a recording", nil, false},
		{"another program's", "not a recording", []byte("PK\x03\x04 and more of it"), false},
		{"a newer format that this version cannot read", "use a newer netns-trace", header(func(b []byte) { b[8], b[10] = 2, 2 }), false},
		{"a newer format that it can", "found ", header(func(b []byte) { b[8] = 2 }), true},
		{"a header of wrong bytes", "the checksum of its header is wrong", append(append([]byte{}, whole[:9]...), append([]byte{9}, whole[10:]...)...), false},
		{"a header that is cut", "is cut off", whole[:11], false},
		{"damage in the middle", "is damaged from byte", middle, true},
	} {
		path := filepath.Join(t.TempDir(), "bad")
		if err := os.WriteFile(path, test.bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := reported(t, reportOptions{format: "text", color: "auto"}, path)
		if text := fmt.Sprint(got, err); !strings.Contains(text, test.want) {
			t.Errorf("%s: %v, report:\n%s\nwant %q", test.name, err, got, test.want)
		}
		if test.reported != strings.Contains(got, "recorded ") {
			t.Errorf("%s: report:\n%s", test.name, got)
		}
	}
}

// A file of a later version, with records that this one has never heard of.
func TestRecordsOfAnUnknownTypeAreCountedAndTheOthersReported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "later.ntrace")
	r, err := recording.Create(t.Context(), recording.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	records, raws := storyRecords(t)
	clock := records[0].(*record.Clock)
	start := recording.Start{
		Config: testConfig(),
		Clock:  recording.Clocks{Monotonic: clock.When(), Realtime: clock.Realtime, Boottime: clock.Boottime},
	}
	if err := r.Begin(start); err != nil {
		t.Fatal(err)
	}
	later := make([]byte, 48) // type, version, size and time, as all have them, and 32 bytes of its own
	binary.LittleEndian.PutUint16(later, 900)
	binary.LittleEndian.PutUint16(later[2:], 1)
	binary.LittleEndian.PutUint32(later[4:], uint32(len(later)))
	binary.LittleEndian.PutUint64(later[8:], clock.When())
	for i, rec := range records {
		r.Fed(rec, raws[i])
		if i == 1 || i == 2 {
			r.Fed(&record.Tick{Time: record.Time(clock.When())}, later)
		}
	}
	if err := r.Finish(recording.End{Time: records[len(records)-1].When()}); err != nil {
		t.Fatal(err)
	}
	_, _, files := recordIncident(t, recording.Options{Path: filepath.Join(t.TempDir(), "a.ntrace")})
	want, err := reported(t, reportOptions{format: "json", color: "auto"}, files[0])
	if !errors.Is(err, errFound) {
		t.Fatal(err)
	}
	if got, _ := reported(t, reportOptions{format: "json", color: "auto"}, path); got != want {
		t.Errorf("findings:\n%s\nwant those of the same file without them:\n%s", got, want)
	}
	text, _ := reported(t, reportOptions{format: "text", color: "auto"}, path)
	if want := "2 records are of a type that this version does not know: type 900 of the ring"; !strings.Contains(text, want) {
		t.Errorf("report:\n%s\nwant %q", text, want)
	}
}

func TestAnUnreadableFileSaysHowToReadIt(t *testing.T) {
	// By its name in the working directory: nobody comes into a test's directories.
	t.Chdir(t.TempDir())
	if err := os.WriteFile("theirs", nil, 0); err != nil {
		t.Fatal(err)
	}
	o := reportOptions{format: "text", color: "auto"}
	if err := o.check(); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		// Root reads everything, a thread of root's with nobody's rights for files does
		// not. It is not given back: it ends with this goroutine.
		runtime.LockOSThread()
		const nobody = 65534
		if err := unix.Setfsuid(nobody); err != nil && os.Geteuid() == 0 {
			failed <- err
			return
		}
		failed <- o.run(t.Context(), []string{"theirs"}, os.Stdout)
	}()
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "sudo chown") {
		t.Errorf("%v", err)
	}
}

func TestACutFileIsReportedUpToThere(t *testing.T) {
	_, _, files := recordIncident(t, recording.Options{Path: filepath.Join(t.TempDir(), "a.ntrace")})
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files[0], b[:len(b)-40], 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := reported(t, reportOptions{format: "text", color: "auto"}, files...)
	if !errors.Is(err, errFound) || !strings.Contains(got, "cut off") {
		t.Errorf("error %v, report:\n%s", err, got)
	}
}

func TestFilesOfOneRecordingTellTogetherWhatOneWould(t *testing.T) {
	want, _, files := recordIncident(t, recording.Options{Path: filepath.Join(t.TempDir(), "a.ntrace"), MaxSize: 3100})
	if len(files) < 3 {
		t.Fatalf("files %q, want some", files)
	}
	if got, _ := reported(t, reportOptions{format: "json", color: "auto"}, files...); got != want {
		t.Errorf("reported of %d files:\n%s\nprinted live:\n%s", len(files), got, want)
	}
	// One that is not the first has the names that were learnt before it.
	got, _ := reported(t, reportOptions{format: "text", color: "auto"}, files[len(files)-1])
	if !strings.Contains(got, "redis") || !strings.Contains(got, "begins in the middle") {
		t.Errorf("of the last file alone:\n%s", got)
	}
}

func TestOnlyTheNewestFilesAreKept(t *testing.T) {
	dir := t.TempDir()
	_, _, files := recordIncident(t, recording.Options{Path: filepath.Join(dir, "a.ntrace"), MaxSize: 3100, MaxFiles: 2})
	there, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 2 || len(there) != 2 {
		t.Errorf("kept %q, there are %v", files, there)
	}
	for _, f := range files {
		if _, err := os.Stat(f); err != nil || filepath.Base(f) == "a.ntrace" {
			t.Errorf("%s was kept: %v", f, err)
		}
	}
}

func TestARedactedRecordingTellsTheSameStoryWithoutNames(t *testing.T) {
	live, _, files := recordIncident(t, recording.Options{Path: filepath.Join(t.TempDir(), "a.ntrace")})
	out := filepath.Join(t.TempDir(), "b.ntrace")
	if err := redact(t.Context(), files[0], out); err != nil {
		t.Fatal(err)
	}
	got, err := reported(t, reportOptions{format: "json", color: "auto"}, out)
	if !errors.Is(err, errFound) {
		t.Fatal(err)
	}
	if strings.Count(got, "\n") != strings.Count(live, "\n") {
		t.Errorf("%d findings, want %d", strings.Count(got, "\n"), strings.Count(live, "\n"))
	}
	for _, secret := range []string{"redis", "dockerd", "veth1", "192.0.2.1", ":443", "0123456789ab", "dind"} {
		if strings.Contains(got, secret) {
			t.Errorf("%q is in the redacted report:\n%s", secret, got)
		}
	}
	for _, kept := range []string{"cloned-mid-setns", "stranded", "copy_process+0x241f/0x2800", "4026532132"} {
		if !strings.Contains(got, kept) {
			t.Errorf("%q is not in the redacted report:\n%s", kept, got)
		}
	}
}
