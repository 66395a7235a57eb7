// SPDX-License-Identifier: Apache-2.0

// Fleet simulates many nodes: recordings of real kernels are replayed as if each node
// had made one, and go out through the exporters that a node has. It prints what that
// is in bytes and time, by OTLP and as Parquet files that DuckDB is asked about with
// the queries of docs/fleet.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/netns-trace/netns-trace/pkg/metrics"
	"github.com/netns-trace/netns-trace/test/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	count := flags.Int("nodes", 1000, "how many nodes")
	keep := flags.String("keep", "", "leave the nodes' Parquet files in this directory")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || *count < 1 {
		return errors.New("fleet takes flags only, and -nodes is at least 1")
	}
	root, err := lab.RepositoryRoot()
	if err != nil {
		return err
	}
	dir := *keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "netns-trace-fleet-*"); err != nil {
			return fmt.Errorf("making a place for the files: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	recordings, names, err := corpus(filepath.Join(root, "test/recordings"))
	if err != nil {
		return err
	}
	f := &fleet{nodes: newNodes(*count, recordings, names), out: out}
	if err := f.live(ctx, dir); err != nil {
		return err
	}
	if err := f.send(ctx); err != nil {
		return err
	}
	return f.ask(ctx, root, dir)
}

// corpus reads the recordings of a directory.
func corpus(dir string) (recordings map[string][]byte, names []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.ntrace"))
	if err != nil || len(files) == 0 {
		return nil, nil, fmt.Errorf("there are no recordings in %s", dir)
	}
	recordings = make(map[string][]byte)
	for _, file := range files {
		name := filepath.Base(file)
		if recordings[name], err = os.ReadFile(file); err != nil {
			return nil, nil, fmt.Errorf("reading the corpus: %w", err)
		}
		names = append(names, name)
	}
	return recordings, names, nil
}

type fleet struct {
	nodes []*node
	lives []*lived
	out   io.Writer
}

// live lets all nodes live and export their recordings.
func (f *fleet) live(ctx context.Context, dir string) error {
	kernels := make(map[string]int)
	var findings, logs int
	var bytes int64
	began := time.Now()
	for _, n := range f.nodes {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l, err := n.live(dir)
		if err != nil {
			return fmt.Errorf("%s: %w", n.host, err)
		}
		f.lives = append(f.lives, l)
		kernels[l.kernel]++
		findings += l.findings
		logs += l.logs()
		bytes += l.bytes
	}
	took := time.Since(began)
	fmt.Fprintf(f.out, "%d nodes, %d findings, %d logs of incidents\n", len(f.nodes), findings, logs)
	for _, kernel := range slices.Sorted(maps.Keys(kernels)) {
		fmt.Fprintf(f.out, "  %4d  %s\n", kernels[kernel], kernel)
	}
	n := int64(len(f.nodes))
	fmt.Fprintf(f.out, "Parquet: %d bytes a node, %d a finding; replayed and written in %s\n\n", bytes/n, bytes/int64(findings), took.Round(time.Millisecond))
	return nil
}

// send measures the ways of OTLP.
func (f *fleet) send(ctx context.Context) error {
	fmt.Fprintf(f.out, "%-12s %22s %22s %22s %12s\n", "OTLP", "together: bytes a log", "alone: bytes a log", "metrics: bytes, points", "logs/s")
	for _, w := range ways() {
		all, err := sendAll(ctx, w, f.nodes, f.lives)
		if err != nil {
			return fmt.Errorf("%s: %w", w, err)
		}
		alone, err := sendAlone(ctx, w, f.nodes[0].host, f.lives[0])
		if err != nil {
			return fmt.Errorf("%s: %w", w, err)
		}
		points, bytes, err := sendMetrics(ctx, w, f.nodes[0].host, f.lives[0], typicalState())
		if err != nil {
			return fmt.Errorf("%s: %w", w, err)
		}
		fmt.Fprintf(f.out, "%-12s %22d %22d %22s %12.0f\n", w, all.bytes/all.logs, alone.bytes/alone.logs,
			fmt.Sprintf("%d, %d", bytes, points), float64(all.logs)/all.took.Seconds())
		if all.lost+alone.lost > 0 {
			fmt.Fprintf(f.out, "%-12s %d logs were lost\n", w, all.lost+alone.lost)
		}
	}
	fmt.Fprintln(f.out)
	return nil
}

// typicalState is what a service tells of itself that watches everything on 6.12 and
// has lost a little.
func typicalState() metrics.State {
	s := metrics.State{
		Records: 1e6, Lost: make(map[metrics.Lost]uint64), Probes: make(map[metrics.Probe]int),
		CPU:   map[string]float64{metrics.PartUserSpace: 12.5, metrics.PartPrograms: 3.25},
		Share: 0.0025, Limit: 0.01, Over: map[string]bool{"cpu": false, "memory": false},
	}
	for class, seen := range map[string][]string{
		"threads": {"fentry", "fexit", "iter", "tp_btf"}, "refs": {"fentry", "fexit", "iter", "kprobe", "tp_btf"},
		"csum": {"fentry", "fexit", "module"}, "dst": {"fentry", "fexit", "iter"}, "names": {"fexit", "tp_btf"},
	} {
		for _, way := range seen {
			s.Probes[metrics.Probe{Class: class, Way: way}] = 1
		}
		s.Lost[metrics.Lost{Class: class, Cause: "kernel_stack"}] = 1
	}
	return s
}

// ask asks DuckDB: the files of the nodes as they are, and all in one.
func (f *fleet) ask(ctx context.Context, root, dir string) error {
	queries, err := documented(root)
	if err != nil {
		return err
	}
	each, one := filepath.Join(dir, "node*.parquet"), filepath.Join(dir, "all.parquet")
	asked := []string{viewOf(each)}
	for _, q := range queries {
		asked = append(asked, q.sql)
	}
	_, many, err := duckDB(ctx, root, asked...)
	if err != nil {
		return err
	}
	joined := fmt.Sprintf("copy (select * from fleet order by kernel, host, time) to '%s' (format parquet, compression zstd)", one)
	if _, _, err := duckDB(ctx, root, viewOf(each), joined); err != nil {
		return err
	}
	asked[0] = viewOf(one)
	_, few, err := duckDB(ctx, root, asked...)
	if err != nil {
		return err
	}
	st, err := os.Stat(one)
	if err != nil {
		return fmt.Errorf("asking for the size of the joined file: %w", err)
	}
	fmt.Fprintf(f.out, "%-50s %14s %14s\n", "DuckDB", fmt.Sprintf("%d files", len(f.nodes)), fmt.Sprintf("1 file, %d kB", st.Size()/1000))
	for i, q := range queries {
		answer, _, err := duckDB(ctx, root, viewOf(one), q.sql)
		if err != nil {
			return err
		}
		fmt.Fprintf(f.out, "%-50s %14s %14s\n%s", q.title, many[i+1], few[i+1], head(answer, 5))
	}
	return nil
}
