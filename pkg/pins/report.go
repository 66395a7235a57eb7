// SPDX-License-Identifier: Apache-2.0

package pins

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

// told is how many pins of one namespace are findings of their own; all are counted.
const told = 32

const how = "read twice from the kernel's lists of namespaces, threads and open files (BPF iterators) and from /proc/*/mountinfo"

func (d *Detector) evidence(n *namespace) finding.Evidence {
	e := d.known.Evidence(finding.Refs, how)
	for _, u := range d.unseen {
		e.How += "; " + u
	}
	if d.mail > 0 {
		e.How += fmt.Sprintf("; %d unix sockets have more unread messages than were looked at", d.mail)
	}
	if n.cut || d.cut {
		e.How += "; there was more than is remembered"
	}
	e.Complete = e.Complete && len(d.unseen) == 0 && !n.cut && !d.cut
	return e
}

func (d *Detector) report(n *namespace, at uint64, emit func(*finding.Finding)) {
	all := n.pins()
	counts := make(map[string]int)
	for _, p := range all {
		counts[p.by.String()]++
	}
	f := &finding.Finding{
		ID: finding.NewID(finding.Refs, "netns", n.id.Inode, n.id.Cookie), State: finding.Opened,
		Class: finding.Refs, Kind: KindPinned, Time: d.known.At(at),
		Netns: d.known.Netns(n.id), Evidence: d.evidence(n),
		Details: map[string]any{"pins": counts},
	}
	f.Summary = fmt.Sprintf("netns %s is alive, but no process lives in it and it has no name: kept by %s", f.Netns, wordPins(counts))
	if references, explained, ok := n.account(); ok {
		f.Count = references
		f.Details["references"], f.Details["explained"], f.Details["unexplained"] = references, explained, references-explained
		f.Facts = append(f.Facts, finding.Fact{Label: "references", Text: n.wordAccount()})
	} else {
		f.Facts = append(f.Facts, finding.Fact{Label: "references", Text: "unknown: they could not be read"})
	}
	if len(all) > told {
		f.Facts = append(f.Facts, finding.Fact{Label: "pins", Text: fmt.Sprintf("%d of %d are told", told, len(all))})
	}
	emit(f)
	for i, p := range all[:min(len(all), told)] {
		emit(d.reportPin(n, f, p, i))
	}
}

func wordPins(counts map[string]int) string {
	if len(counts) == 0 {
		return "nothing that can be seen"
	}
	var parts []string
	for _, by := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, plural(counts[by], by, by+"s"))
	}
	return strings.Join(parts, ", ")
}

func plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// wordAccount says what the references of the namespace are, as far as was seen.
func (n *namespace) wordAccount() string {
	references, explained, _ := n.account()
	var parts []string
	if len(n.nsproxies) > 0 {
		parts = append(parts, plural(len(n.nsproxies), "set of namespaces", "sets of namespaces")+" that threads are in")
	}
	if len(n.sockets) > 0 {
		parts = append(parts, plural(len(n.sockets), "socket", "sockets"))
	}
	if n.waiting > 0 {
		parts = append(parts, plural(int(n.waiting), "connection", "connections")+" not accepted yet")
	}
	if n.alive.InNsfs && n.nsfs {
		parts = append(parts, "1 for all its open files and mounts")
	}
	text := fmt.Sprintf("%d", references)
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	switch left := references - explained; {
	case left > 0 && n.alive.InNsfs && !n.nsfs:
		text += fmt.Sprintf("; %d unexplained, one of them a file of it that is open or mounted where nobody looked", left)
	case left > 0:
		text += fmt.Sprintf("; %d unexplained: sockets that no descriptor leads to (of closing connections, of the kernel itself), or references leaked by code", left)
	case left < 0:
		text += fmt.Sprintf("; that is %d more than it has: they changed meanwhile", -left)
	}
	return text
}

func (d *Detector) reportPin(n *namespace, of *finding.Finding, p pin, i int) *finding.Finding {
	f := &finding.Finding{
		ID: finding.NewID(finding.Refs, "pin", n.id.Inode, n.id.Cookie, i), State: finding.Opened,
		Class: finding.Refs, Kind: KindPin, Time: of.Time, Netns: of.Netns, Count: 1, Evidence: of.Evidence,
		Details: map[string]any{"by": p.by.String(), "pinned": of.ID},
	}
	what, release := d.describe(p, f)
	f.Summary = fmt.Sprintf("netns %s is kept by %s", f.Netns, what)
	f.Details["release"] = release
	f.Facts = append(f.Facts, finding.Fact{Label: "release", Text: release})
	return f
}

// describe words a pin and what would release it, and puts both into the finding.
func (d *Detector) describe(p pin, f *finding.Finding) (what, release string) {
	switch p.by {
	case byThread:
		return d.describeThread(p.process, f)
	case byMount:
		return describeMount(p.mount, f)
	}
	file := p.file
	f.Process = d.known.Process(file.Thread)
	f.Details["fd"], f.Details["inode"] = file.FD, file.Inode
	who := processWords(file.Thread)
	thing := fileWords(file)
	if file.Kind == record.NetnsFileSocket {
		f.Details["socket"] = socketDetails(file)
	}
	if p.by == byMessage {
		f.Details["inode"], f.Details["carrier"] = file.Inode, file.Carrier
		return fmt.Sprintf("%s that is in an unread message of a unix socket, descriptor %d of %s", thing, file.FD, who),
			fmt.Sprintf("close descriptor %d of %s, or have it read the message and close what comes", file.FD, who)
	}
	return fmt.Sprintf("descriptor %d of %s: %s", file.FD, who, thing),
		fmt.Sprintf("close descriptor %d of %s, or end that process", file.FD, who)
}

func (d *Detector) describeThread(p *process, f *finding.Finding) (what, release string) {
	f.Process = d.known.Process(p.first)
	f.Count = int64(p.threads)
	f.Details["threads"] = p.threads
	who := fmt.Sprintf("pid %d (%s)", p.first.TGID, p.first.Comm)
	if p.threads == 1 {
		return fmt.Sprintf("thread %d of %s, which lives elsewhere", p.first.TID, who),
			fmt.Sprintf("end thread %d of %s, nearly always the whole process: nobody else can move it", p.first.TID, who)
	}
	return fmt.Sprintf("%d threads of %s, which lives elsewhere", p.threads, who),
		fmt.Sprintf("end these threads of %s, nearly always the whole process: nobody else can move them", who)
}

func describeMount(m *record.NetnsMount, f *finding.Finding) (what, release string) {
	f.Details["path"], f.Details["mount_namespace"] = m.Path, m.MountNS
	if m.Initial {
		return "a bind mount at " + m.Path, "umount " + m.Path
	}
	f.Details["mount_namespace_pid"] = m.PID
	return fmt.Sprintf("a bind mount at %s in the mount namespace of pid %d (%s)", m.Path, m.PID, m.Comm),
		fmt.Sprintf("nsenter -t %d -m umount %s, or end all that is in that mount namespace", m.PID, m.Path)
}

func processWords(t record.Thread) string {
	if t.TID != t.TGID {
		return fmt.Sprintf("thread %d of pid %d (%s)", t.TID, t.TGID, t.Comm)
	}
	return fmt.Sprintf("pid %d (%s)", t.TGID, t.Comm)
}
