// SPDX-License-Identifier: Apache-2.0

package pins

import (
	"slices"
	"strings"
	"testing"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

const (
	host = 4026531840
	red  = 4026532254
)

var redID = record.NetnsID{Inode: red, Cookie: 7}

// look is one look at one namespace: what was seen in it, and what came of it.
type look struct {
	only       uint32
	records    []record.Record
	alive      record.NetnsAlive
	unseen     []string
	findings   []*finding.Finding
	statements []Statement
}

func (l *look) run(t *testing.T) {
	t.Helper()
	d := New(new(finding.Knowledge))
	emit := func(f *finding.Finding) { l.findings = append(l.findings, f) }
	l.look(d, false, emit)
	if n := len(l.findings) + len(d.Statements()); n > 0 {
		t.Errorf("%d findings or statements after the first look", n)
	}
	l.look(d, true, emit)
	l.statements = d.Statements()
}

func (l *look) look(d *Detector, again bool, emit func(*finding.Finding)) {
	d.Observe(&record.NetnsLook{Again: again, Only: l.only, Skip: host}, emit)
	for _, r := range l.records {
		d.Observe(r, emit)
	}
	if l.alive.Netns.Inode != 0 {
		d.Observe(&l.alive, emit)
	}
	d.Observe(&record.NetnsList{Namespaces: 1, Whole: true}, emit)
	d.Observe(&record.NetnsLooked{Unseen: l.unseen}, emit)
}

func alive(references uint32, inNsfs bool) record.NetnsAlive {
	return record.NetnsAlive{Netns: redID, References: references, InNsfs: inNsfs}
}

// task is a thread of dockerd or of another process, there, while its first thread is
// in the namespace leader.
func task(pid, tid, leader, threads uint32) *record.NetnsTask {
	return &record.NetnsTask{
		Thread: record.Thread{TGID: pid, TID: tid, Comm: "dockerd"}, Netns: redID, Nsproxy: uint64(tid), Leader: leader, Threads: threads,
	}
}

func file(pid, fd uint32, kind record.NetnsFileKind) *record.NetnsFile {
	f := &record.NetnsFile{
		Thread: record.Thread{TGID: pid, TID: pid, Comm: "agent"}, FD: fd, Netns: redID, Kind: kind,
		Object: uint64(fd), Inode: uint64(1000 + fd),
	}
	if kind != record.NetnsFileNsfs {
		f.Counted, f.Family, f.Type, f.Proto = true, 2, 2, 17
	}
	return f
}

func TestWhatPinsANamespace(t *testing.T) {
	message := file(300, 5, record.NetnsFileNsfs)
	message.Carrier = 77
	listener := file(300, 4, record.NetnsFileSocket)
	listener.Proto, listener.State, listener.Waiting = 6, 10, 2
	for _, test := range []struct {
		name    string
		records []record.Record
		alive   record.NetnsAlive
		by      []string // of each pin
		says    []string // the first pin's summary and release have this
		left    int64    // references unexplained
	}{
		{
			"dockerd's thread was left behind in a container that is gone (moby/libnetwork#1113)",
			[]record.Record{task(300, 307, host, 12)},
			alive(1, false),
			[]string{"thread"},
			[]string{"thread 307 of pid 300 (dockerd), which lives elsewhere", "end thread 307"},
			0,
		},
		{
			"its first thread alone went there: it still lives where the other eleven are",
			[]record.Record{task(300, 300, red, 12)},
			alive(1, false),
			[]string{"thread"},
			[]string{"thread 300 of pid 300"},
			0,
		},
		{
			"an agent forgot to close /proc/PID/ns/net",
			[]record.Record{file(300, 8, record.NetnsFileNsfs)},
			alive(1, true),
			[]string{"descriptor"},
			[]string{"descriptor 8 of pid 300 (agent): an open file of the namespace", "close descriptor 8 of pid 300"},
			0,
		},
		{
			"two descriptors of it are one reference, and both have to be closed",
			[]record.Record{file(300, 8, record.NetnsFileNsfs), file(301, 9, record.NetnsFileNsfs)},
			alive(1, true),
			[]string{"descriptor", "descriptor"},
			nil,
			0,
		},
		{
			"a socket made there, which two processes share",
			[]record.Record{file(300, 3, record.NetnsFileSocket), file(301, 3, record.NetnsFileSocket)},
			alive(1, false),
			[]string{"socket", "socket"},
			[]string{"a socket of UDP, IPv4", "close descriptor 3 of pid 300"},
			0,
		},
		{
			"a listening socket, and two connections that nobody has accepted",
			[]record.Record{listener},
			alive(3, false),
			[]string{"socket"},
			[]string{"a socket of TCP, IPv4 LISTEN"},
			0,
		},
		{
			"a descriptor that was sent and never received",
			[]record.Record{message},
			alive(1, true),
			[]string{"message"},
			[]string{"an open file of the namespace that is in an unread message of a unix socket, descriptor 5 of pid 300 (agent)"},
			0,
		},
		{
			"a bind mount in a mount namespace that `ip netns del` did not reach",
			[]record.Record{&record.NetnsMount{Inode: red, MountNS: 9, PID: 400, Comm: "unit", Path: "/mnt/x"}},
			alive(1, true),
			[]string{"mount"},
			[]string{"a bind mount at /mnt/x in the mount namespace of pid 400 (unit)", "nsenter -t 400 -m umount /mnt/x"},
			0,
		},
		{
			"a bind mount that is not among the names, where everybody sees it",
			[]record.Record{&record.NetnsMount{Inode: red, Initial: true, PID: 1, Comm: "init", Path: "/tmp/x"}},
			alive(1, true),
			[]string{"mount"},
			[]string{"a bind mount at /tmp/x", "umount /tmp/x"},
			0,
		},
		{"nothing that can be seen: a reference leaked by code", nil, alive(2, false), nil, nil, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := look{records: test.records, alive: test.alive}
			l.run(t)
			if len(l.findings) == 0 || l.findings[0].Kind != KindPinned || l.findings[0].Netns.Inode != red {
				t.Fatalf("findings %+v, want first that %d is pinned", l.findings, red)
			}
			first, pins := l.findings[0], l.findings[1:]
			if first.Count != int64(test.alive.References) || first.Details["unexplained"] != test.left {
				t.Errorf("count %d, %v unexplained, want %d and %d", first.Count, first.Details["unexplained"], test.alive.References, test.left)
			}
			var by []string
			for _, p := range pins {
				by = append(by, p.Details["by"].(string))
				if p.Kind != KindPin || p.Details["pinned"] != first.ID || p.ID == first.ID {
					t.Errorf("pin %+v does not belong to %s", p, first.ID)
				}
			}
			if !slices.Equal(by, test.by) {
				t.Errorf("pins by %v, want %v", by, test.by)
			}
			for _, want := range test.says {
				if text := pins[0].Summary + "\n" + pins[0].Details["release"].(string); !strings.Contains(text, want) {
					t.Errorf("the first pin says\n%s\nwithout %q", text, want)
				}
			}
			if !first.Evidence.Complete {
				t.Errorf("evidence %+v, want it complete", first.Evidence)
			}
		})
	}
}

func TestWhatIsAsItShouldBe(t *testing.T) {
	name := &record.NetnsMount{Inode: red, Initial: true, PID: 1, Path: "/run/netns/red"}
	for _, test := range []struct {
		name    string
		records []record.Record
		says    string
	}{
		{"a container's processes live there", []record.Record{task(300, 300, red, 1), file(300, 3, record.NetnsFileSocket)}, "in use: 1 process"},
		{"all threads of a daemon do", []record.Record{task(300, 300, red, 3), task(300, 301, red, 3), task(300, 302, red, 3)}, "in use: 1 process"},
		{"its first thread has exited, the other lives on", []record.Record{task(300, 301, 0, 2)}, "in use: 1 process"},
		{"`ip netns add red`", []record.Record{name}, "has a name and no processes"},
		{
			"and a service got a copy of all mounts",
			[]record.Record{name, &record.NetnsMount{Inode: red, MountNS: 9, PID: 400, Path: "/run/netns/red"}},
			"has a name and no processes",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := look{records: test.records, alive: alive(2, true), only: red}
			l.run(t)
			if len(l.findings) > 0 {
				t.Errorf("%s: it is a finding: %s", test.name, l.findings[0].Summary)
			}
			if len(l.statements) != 1 || !strings.Contains(l.statements[0].Summary, test.says) {
				t.Errorf("statements %+v, want one that it %s", l.statements, test.says)
			}
		})
	}
}

func TestStatementOfAContainerTellsWhoElseKeepsIt(t *testing.T) {
	l := look{
		only:    red,
		records: []record.Record{task(400, 400, red, 1), task(300, 307, host, 12), file(300, 8, record.NetnsFileNsfs), file(400, 3, record.NetnsFileSocket)},
		alive:   alive(5, true),
	}
	l.run(t)
	if len(l.statements) != 1 {
		t.Fatalf("statements %+v, want one", l.statements)
	}
	var text []string
	for _, f := range l.statements[0].Facts {
		text = append(text, f.Label+": "+f.Text)
	}
	want := []string{
		"lives: pid 400 (dockerd), 1 thread",
		"kept by: thread 307 of pid 300 (dockerd), which lives elsewhere",
		"kept by: descriptor 8 of pid 300 (agent): an open file of the namespace",
		"references: 5: 2 sets of namespaces that threads are in, 1 socket, 1 for all its open files and mounts; " +
			"1 unexplained: sockets that no descriptor leads to (of closing connections, of the kernel itself), or references leaked by code",
	}
	if !slices.Equal(text, want) {
		t.Errorf("facts\n%s\nwant\n%s", strings.Join(text, "\n"), strings.Join(want, "\n"))
	}
}

func TestNamespaceWhoseCleanupHasBegunIsNotTold(t *testing.T) {
	l := look{records: []record.Record{file(300, 8, record.NetnsFileNsfs)}}
	l.run(t)
	if len(l.findings)+len(l.statements) > 0 {
		t.Errorf("findings %+v, statements %+v of a namespace that is not in the kernel's list", l.findings, l.statements)
	}
}

// What comes and goes while it is looked at may seem to be kept by nothing, once.
func TestNamespacesThatComeAndGoAreNotTold(t *testing.T) {
	nothing := look{alive: alive(1, false)}
	process := look{alive: alive(1, false), records: []record.Record{task(300, 300, red, 1)}}
	dying := look{alive: alive(0, false)}
	other := look{alive: record.NetnsAlive{Netns: record.NetnsID{Inode: red, Cookie: 8}, References: 1}}
	for _, test := range []struct {
		name          string
		first, second *look
	}{
		{"it was made after the threads were gone through", &nothing, &process},
		{"its last process ended, and it is not off the list yet", &process, &dying},
		{"its last process ended between the looks", &process, &nothing},
		{"it was gone before its cleanup began", &dying, &dying},
		{"its number was given to another", &nothing, &other},
	} {
		d := New(new(finding.Knowledge))
		var told []string
		emit := func(f *finding.Finding) { told = append(told, f.Summary) }
		test.first.look(d, false, emit)
		test.second.look(d, true, emit)
		if len(told) > 0 {
			t.Errorf("%s: told %q", test.name, told)
		}
	}
}

func TestPinsAreIncompleteWithoutTheirSources(t *testing.T) {
	l := look{records: []record.Record{task(300, 307, host, 12)}, alive: alive(1, false), unseen: []string{"sockets are not looked at"}}
	l.run(t)
	for _, f := range l.findings {
		if f.Evidence.Complete || !strings.Contains(f.Evidence.How, "sockets are not looked at") {
			t.Errorf("evidence of %q: %+v", f.Summary, f.Evidence)
		}
	}
}

func TestManyPinsAreCountedAndTheFirstAreTold(t *testing.T) {
	l := look{alive: alive(1, true)}
	for i := range uint32(3 * told) {
		l.records = append(l.records, file(300+i, 8, record.NetnsFileNsfs))
	}
	l.run(t)
	if len(l.findings) != 1+told {
		t.Fatalf("%d findings, want %d", len(l.findings), 1+told)
	}
	if counts := l.findings[0].Details["pins"].(map[string]int); counts["descriptor"] != 3*told {
		t.Errorf("pins %v, want %d descriptors", counts, 3*told)
	}
}

func TestOneNamespaceOfManyIsAskedFor(t *testing.T) {
	l := look{only: red, records: []record.Record{
		file(300, 8, record.NetnsFileNsfs),
		&record.NetnsMount{Inode: red + 1, Initial: true, PID: 1, Path: "/tmp/x"},
		&record.NetnsAlive{Netns: record.NetnsID{Inode: red + 1}, References: 1, InNsfs: true},
	}, alive: alive(1, true)}
	l.run(t)
	for _, f := range l.findings {
		if f.Netns.Inode != red {
			t.Errorf("told of %d: %s", f.Netns.Inode, f.Summary)
		}
	}
	if len(l.findings) != 2 {
		t.Errorf("%d findings, want that it is pinned, and by what", len(l.findings))
	}
}
