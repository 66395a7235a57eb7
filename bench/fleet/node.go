// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/netns-trace/netns-trace/pkg/csum"
	"github.com/netns-trace/netns-trace/pkg/dst"
	"github.com/netns-trace/netns-trace/pkg/export"
	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/incident"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/recording"
	"github.com/netns-trace/netns-trace/pkg/refs"
	"github.com/netns-trace/netns-trace/pkg/report"
	"github.com/netns-trace/netns-trace/pkg/threads"
	"github.com/netns-trace/netns-trace/pkg/trace"
)

// node is a simulated one: it made a recording, as another machine did, at another
// time of the same day.
type node struct {
	host      string
	boot      string
	recording []byte
	shift     time.Duration
}

// weights are how many nodes of ten have each recording's kernel; those of others one.
func weights(name string) int {
	return map[string]int{"6.1.ntrace": 4, "6.12.ntrace": 4}[name] + 1
}

// newNodes makes n of them, always the same.
func newNodes(n int, recordings map[string][]byte, names []string) []*node {
	random := rand.New(rand.NewPCG(1, 2))
	var drawn []string
	for _, name := range names {
		for range weights(name) {
			drawn = append(drawn, name)
		}
	}
	nodes := make([]*node, n)
	for i := range nodes {
		nodes[i] = &node{
			host: fmt.Sprintf("node%05d", i), boot: fmt.Sprintf("%016x%016x", random.Uint64(), random.Uint64()),
			recording: recordings[drawn[random.IntN(len(drawn))]],
			shift:     time.Duration(random.Int64N(int64(12 * time.Hour))),
		}
	}
	return nodes
}

// lived is what a node saw and wrote.
type lived struct {
	kernel   string
	findings int
	events   []*incident.Event
	bytes    int64 // of its Parquet file
}

// logs are the events that are sent: what begins and what ends.
func (l *lived) logs() (n int) {
	for _, e := range l.events {
		if e.Change == incident.Opened || e.Change == incident.Ended {
			n++
		}
	}
	return n
}

// live replays the recording, writes what is found to a Parquet file, and returns
// what the service would tell of it.
func (n *node) live(dir string) (_ *lived, err error) {
	r, err := recording.NewReader(bytes.NewReader(n.recording))
	if err != nil {
		return nil, fmt.Errorf("reading the recording: %w", err)
	}
	defer r.Close()
	start := *r.Start()
	start.Host.Name, start.Host.BootID = n.host, n.boot
	start.Clock.Realtime += int64(n.shift)

	f, err := os.Create(filepath.Join(dir, n.host+".parquet"))
	if err != nil {
		return nil, fmt.Errorf("making the node's file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	known := new(finding.Knowledge)
	w, err := export.New("parquet", f, &start, known)
	if err != nil {
		return nil, err
	}
	l := &lived{kernel: start.Host.Release}
	book := incident.NewBook(incident.Options{Release: l.kernel}, func(e *incident.Event) { l.events = append(l.events, e) })
	c := start.Config
	engine := trace.NewEngine(known, func(f *finding.Finding) {
		l.findings++
		w.Finding(f)
		book.Observe(f)
	},
		threads.New(threads.Config{Away: time.Duration(c.AwayNS), HomeAny: c.HomeAny}, known), refs.New(known),
		csum.New(csum.Config{Every: c.CsumEvery, PerSecond: c.CsumPerSecond}, known), dst.New(known))
	last := uint64(0)
	for {
		rec, _, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading the recording: %w", err)
		}
		if clock, ok := rec.(*record.Clock); ok {
			clock.Realtime += int64(n.shift)
		}
		last = max(last, rec.When())
		w.Record(rec)
		engine.Feed(rec)
	}
	// Long after, all is over.
	book.Tick(known.At(last).Add(time.Hour))
	if err := w.Finish(report.Recorded{}); err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("asking for the size of the node's file: %w", err)
	}
	l.bytes = st.Size()
	return l, nil
}
