// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/csv"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/recording"
)

// askPerfetto loads a trace into Perfetto's reader and returns the answer to a query,
// a row a line, values parted by tabs.
func askPerfetto(t *testing.T, trace, query string) string {
	t.Helper()
	shell := program(t, "trace_processor_shell", "Perfetto's reader, which Debian has no package of")
	file := filepath.Join(t.TempDir(), "query.sql")
	if err := os.WriteFile(file, []byte(query+";"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), shell, "-q", file, trace)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", query, err, stderr.String())
	}
	lines, err := csv.NewReader(bytes.NewReader(out)).ReadAll()
	if err != nil || len(lines) == 0 {
		t.Fatalf("%s: %q, %v", query, out, err)
	}
	var rows []string
	for _, line := range lines[1:] { // after the columns' names
		rows = append(rows, strings.Join(line, "\t"))
	}
	return strings.Join(rows, "\n")
}

// wrongInPerfetto are the counters of what Perfetto could not take from a trace. Some
// that are called errors have the severity info.
const wrongInPerfetto = `select name, severity, value from stats where value > 0 and (severity in ('error', 'data_loss') or name glob '*_errors')`

func TestATraceIsReadByPerfetto(t *testing.T) {
	trace := exported(t, "perfetto")
	for _, test := range []struct{ what, query, want string }{
		{"nothing was wrong or lost", wrongInPerfetto, ""},
		{
			"threads with their names, in one process",
			`select thread.name, tid, pid, process.name from thread_track join thread using (utid) join process using (upid) order by tid`,
			"dockerd\t801\t800\tdockerd\ndockerd\t810\t800\tdockerd",
		},
		{
			"how long who was where, in milliseconds",
			`select tid, slice.name, dur / 1000000 from slice join thread_track on track_id = thread_track.id join thread using (utid)
			 where category = 'netns' order by tid, ts`,
			"801\thost (4026531840)\t960\n801\tredis (4026532132)\t1040\n801\thost (4026531840)\t21000\n810\tredis (4026532132)\t19000",
		},
		{
			"an arrow from the parent to its clone",
			`select source.name, t.tid, target.name, u.tid from flow
			 join slice source on slice_out = source.id join thread_track a on source.track_id = a.id join thread t on a.utid = t.utid
			 join slice target on slice_in = target.id join thread_track b on target.track_id = b.id join thread u on b.utid = u.utid`,
			"clone\t801\tredis (4026532132)\t810",
		},
		{
			"counters by what a device's references were taken for, below the device",
			`select parent.name, child.name, cast(max(value) as int) from counter join track child on child.id = track_id
			 join track parent on parent.id = child.parent_id where parent.name like 'device %' group by child.id order by child.name`,
			"device veth1 of netns redis (4026532132)\treferences\t2\n" +
				"device veth1 of netns redis (4026532132)\ttaken for AF_LLC socket\t1\n" +
				"device veth1 of netns redis (4026532132)\ttaken for a dst entry\t1\n" +
				"device veth1 of netns redis (4026532132)\ttaken for a neighbour\t1\n" +
				"device veth1 of netns redis (4026532132)\ttaken for the nexthop of a route\t3",
		},
		{
			"a connection that failed, in the thread that was left behind",
			`select slice.name from slice join thread_track on track_id = thread_track.id join thread using (utid) where category = 'call' and tid = 810`,
			"connect to 192.0.2.1:443 failed",
		},
		{
			"a finding with its summary",
			`select track.name, extract_arg(arg_set_id, 'debug.state') from slice join track on track_id = track.id
			 where slice.name = 'stranded' and extract_arg(arg_set_id, 'debug.summary') like 'thread 810 %'`,
			"findings: threads\tupdated",
		},
		{
			"the time of the day",
			`select to_realtime(ts) / 1000000000 from slice where name = 'clone'`,
			"1790000001",
		},
	} {
		t.Run(test.what, func(t *testing.T) {
			if got := askPerfetto(t, trace, test.query); got != test.want {
				t.Errorf("%s:\n%s\nwant:\n%s", test.query, got, test.want)
			}
		})
	}
}

// A number that a second thread has is not taken for the first one's.
func TestAThreadNumberThatIsUsedAgainInPerfetto(t *testing.T) {
	path := filepath.Join(t.TempDir(), "again.ntrace")
	r, err := recording.Create(t.Context(), recording.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Begin(recording.Start{Config: testConfig(), Zone: recording.Zone{Name: "UTC"}, Clock: recording.Clocks{Monotonic: 1e9, Boottime: 1e9}}); err != nil {
		t.Fatal(err)
	}
	home, redis := record.NetnsID{Cookie: 1, Inode: 4026531840}, record.NetnsID{Cookie: 9, Inode: 4026532132}
	r.Fed(&record.Clock{Time: 1e9, Boottime: 1e9}, nil)
	for _, at := range []uint64{2e9, 5e9} {
		th := record.Thread{TGID: 700, TID: 710, Start: at - 1e8, Comm: "worker"}
		r.Fed(&record.NetnsSwitch{Time: record.Time(at), Thread: th, Home: home, From: home, To: redis}, nil)
		r.Fed(&record.NetnsSwitch{Time: record.Time(at + 1e9), Thread: th, Home: home, From: redis, To: home}, nil)
	}
	if err := r.Finish(recording.End{Time: 8e9}); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out.pftrace")
	if err := exportTo(t.Context(), []string{path}, "perfetto", out); err != nil {
		t.Fatal(err)
	}
	if got := askPerfetto(t, out, wrongInPerfetto); got != "" {
		t.Errorf("wrong or lost:\n%s", got)
	}
	const away = `select count(distinct track_id), count(*), cast(sum(dur) / 1000000 as int) from slice where name like '%4026532132%'`
	if got, want := askPerfetto(t, out, away), "2\t2\t2000"; got != want {
		t.Errorf("tracks, slices and milliseconds away: %q, want %q", got, want)
	}
}

// What was recorded on real kernels has no time that has no end, and no arrow without
// both ends.
func TestTracesOfTheCorpusAreReadByPerfetto(t *testing.T) {
	files, err := filepath.Glob("../../test/recordings/*.ntrace")
	if err != nil || len(files) == 0 {
		t.Fatalf("files %q, %v", files, err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out.pftrace")
			if err := exportTo(t.Context(), []string{path}, "perfetto", out); err != nil {
				t.Fatal(err)
			}
			if got := askPerfetto(t, out, wrongInPerfetto); got != "" {
				t.Errorf("wrong or lost:\n%s", got)
			}
			const counts = `select (select count(*) from slice where dur < 0), (select count(*) from flow),
				(select count(*) from thread_track join thread using (utid) where thread.name is null),
				(select count(*) > 10 from counter), (select count(*) > 7 from slice where category = 'finding')`
			if got, want := askPerfetto(t, out, counts), "0\t1\t0\t1\t1"; got != want {
				t.Errorf("endless slices, flows, unnamed threads, counters, findings: %q, want %q", got, want)
			}
		})
	}
}
