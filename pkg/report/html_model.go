// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"time"

	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/timeline"
)

// pageData is all that the page's scripts know. Times are ms since the beginning.
type pageData struct {
	Begin    int64         `json:"begin"` // ms since 1970
	Length   float64       `json:"length"`
	Offset   int           `json:"offset"` // seconds east of UTC
	Zone     string        `json:"zone"`
	Found    string        `json:"found"`
	Evidence string        `json:"evidence"`
	Where    string        `json:"where"`
	Notes    []string      `json:"notes"`
	Dropped  uint64        `json:"dropped,omitempty"`
	Netns    []pageNetns   `json:"netns"`
	Threads  []pageThread  `json:"threads"`
	Devices  []pageDevice  `json:"devices"`
	Csum     []pageCsum    `json:"csum"`
	Dst      []pageCounter `json:"dst"`
	Failures []pageFailure `json:"failures"`
	Stacks   [][]string    `json:"stacks"`
	Findings []pageFinding `json:"findings"`
}

type pageNetns struct {
	Name  string `json:"name"`
	Inode uint32 `json:"inode"`
}

type pageThread struct {
	PID    uint32       `json:"pid"`
	TID    uint32       `json:"tid"`
	Comm   string       `json:"comm"`
	Home   int          `json:"home"`
	Spans  [][3]float64 `json:"spans"`           // from, to, index of netns
	Calls  [][2]float64 `json:"calls,omitempty"` // at, 1 if it failed
	Parent int          `json:"parent"`          // index of threads, -1: none
	Cloned float64      `json:"cloned,omitempty"`
	Exited float64      `json:"exited,omitempty"`
	Open   bool         `json:"open,omitempty"`
}

type pageCsum struct {
	Name        string            `json:"name"`
	Netns       string            `json:"netns"`
	By          string            `json:"by"`
	Packets     [][]float64       `json:"packets"` // at, rewritten, corrupt
	Transitions map[string]uint64 `json:"transitions"`
	Verdicts    map[string]uint64 `json:"verdicts"`
}

type pageCounter struct {
	Name      string      `json:"name"`
	Netns     string      `json:"netns"`
	Threshold uint32      `json:"threshold,omitempty"`
	Points    [][]float64 `json:"points"` // at, entries, charged less credited
}

type pageFailure struct {
	At    float64 `json:"at"`
	Name  string  `json:"name"`
	Count uint64  `json:"count"`
}

func (p *Page) model() pageData {
	t := p.timeline
	zone := p.about.Zone
	if zone == nil {
		zone = time.Local
	}
	begin := p.known.At(t.Begin)
	name, offset := begin.In(zone).Zone()
	d := pageData{
		Begin: begin.UnixMilli(), Length: p.at(t.End), Offset: offset, Zone: name,
		Found: p.verdict.words(), Evidence: p.about.evidence(), Where: p.about.where(),
		Notes: append(append([]string{}, p.about.Notes...), p.about.Unseen...), Dropped: t.Dropped + uint64(p.dropped),
		Netns: []pageNetns{}, Threads: []pageThread{}, Devices: []pageDevice{}, Csum: []pageCsum{}, Dst: []pageCounter{},
		Failures: []pageFailure{}, Stacks: p.stack, Findings: p.findings,
	}
	p.threads(&d)
	for _, dev := range t.Devices {
		d.Devices = append(d.Devices, p.device(dev))
	}
	for _, r := range t.Rewriters {
		d.Csum = append(d.Csum, p.rewriter(r))
	}
	for _, c := range t.Counters {
		counter := pageCounter{Name: c.Ops.Kind.String(), Netns: p.netns(c.Ops.Netns), Threshold: c.Threshold}
		for _, pt := range c.Points {
			counter.Points = append(counter.Points, []float64{p.at(pt.At), float64(pt.Values[0]), float64(pt.Values[1] - pt.Values[2])})
		}
		d.Dst = append(d.Dst, counter)
	}
	for _, f := range t.Failures {
		d.Failures = append(d.Failures, pageFailure{p.at(f.At), f.Ops.Kind.String() + " of " + p.netns(f.Ops.Netns), f.Count})
	}
	return d
}

// at is a time as the page has it.
func (p *Page) at(monotonic uint64) float64 {
	return ms(time.Duration(int64(monotonic) - int64(p.timeline.Begin)))
}

func (p *Page) netns(id record.NetnsID) string {
	if id.Inode == 0 {
		return "all namespaces"
	}
	return p.known.Netns(id).String()
}

func (p *Page) threads(d *pageData) {
	namespaces := make(map[record.NetnsID]int)
	for i, id := range p.timeline.Namespaces() {
		namespaces[id] = i
		d.Netns = append(d.Netns, pageNetns{p.netns(id), id.Inode})
	}
	indexes := make(map[*timeline.Thread]int)
	for i, th := range p.timeline.Threads {
		indexes[th] = i
		out := pageThread{PID: th.TGID, TID: th.TID, Comm: th.Comm, Home: namespaces[th.Home], Parent: -1, Open: th.Open, Spans: [][3]float64{}}
		for _, s := range th.Spans {
			out.Spans = append(out.Spans, [3]float64{p.at(s.From), p.at(s.To), float64(namespaces[s.Netns])})
		}
		for _, c := range th.Calls {
			failed := 0.0
			if c.Failed {
				failed = 1
			}
			out.Calls = append(out.Calls, [2]float64{p.at(c.At), failed})
		}
		if parent, ok := indexes[th.Parent]; ok && th.Parent != nil {
			out.Parent, out.Cloned = parent, p.at(th.Cloned)
		}
		if th.Exited != 0 {
			out.Exited = p.at(th.Exited)
		}
		d.Threads = append(d.Threads, out)
	}
}

func (p *Page) rewriter(r *timeline.Rewriter) pageCsum {
	by := "veth_xmit"
	if r.By == record.CsumByTC {
		by = "bpf_csum_level"
	}
	out := pageCsum{Name: r.Name, Netns: p.netns(r.Netns), By: by, Transitions: make(map[string]uint64)}
	for from := range r.Transitions {
		for to, n := range r.Transitions[from] {
			if n > 0 {
				out.Transitions[fmt.Sprintf("%s to %s", record.ChecksumState(from), record.ChecksumState(to))] = n
			}
		}
	}
	v := r.Verdicts
	out.Verdicts = map[string]uint64{
		"good": v.Good, "corrupt": v.Corrupt, "no checksum": v.NoChecksum, "unchecked": v.Unchecked,
		"unverifiable": v.GSO + v.Fragment + v.Protocol + v.Nonlinear + v.Truncated,
	}
	for _, pt := range r.Packets {
		out.Packets = append(out.Packets, []float64{p.at(pt.At), float64(pt.Values[0]), float64(pt.Values[1])})
	}
	return out
}
