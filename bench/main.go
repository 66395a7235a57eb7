// SPDX-License-Identifier: Apache-2.0

// Bench measures what tracing costs, in executed instructions: it boots kernels in
// QEMU, where time is a count of instructions, and does workloads there without and
// with netns-trace, with empty programs at the same places, and with other tools. It
// prints a table, and how the promises of docs/performance.md stand; the exit status
// is 1 when one is broken.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/netns-trace/netns-trace/test/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	kernels   string
	workloads string
	boots     int
	short     bool
	peers     bool
	tool      string
}

var errBroken = errors.New("a promise is broken")

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.kernels, "kernels", "6.12,6.1", "kernels of the lab, the reference first")
	flags.StringVar(&o.workloads, "workloads", "", "measure on these only, such as udp,clone")
	flags.IntVar(&o.boots, "boots", 1, "measure so often, each time in a new boot, and print the spread")
	flags.BoolVar(&o.short, "short", false, "a packet, a clone and an unrelated system call only, and no other tools")
	flags.BoolVar(&o.peers, "peers", true, "fetch bpftrace and perf and measure them too")
	flags.StringVar(&o.tool, "tool", "", "measure this netns-trace, not the one of the sources here")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || o.boots < 1 {
		flags.Usage()
		return errors.New("bench takes flags only, and -boots is at least 1")
	}
	cache, err := lab.OpenCache(progress)
	if err != nil {
		return err
	}
	// Not in the cache, where another checkout's build may replace a program of the
	// same name between two boots.
	dir, err := os.MkdirTemp("", "netns-trace-bench-*")
	if err != nil {
		return fmt.Errorf("making a place for the programs: %w", err)
	}
	defer os.RemoveAll(dir)
	p, err := o.plan(ctx, cache, dir)
	if err != nil {
		return err
	}
	p.progress = progress
	var broken []string
	for _, name := range strings.Split(o.kernels, ",") {
		kernel, err := lab.FetchKernel(ctx, cache, name, lab.FlavourCloud)
		if err != nil {
			return err
		}
		var boots []figures
		for range o.boots {
			s, err := p.measure(ctx, cache, kernel)
			if err != nil {
				return err
			}
			boots = append(boots, s)
		}
		if err := printFigures(out, boots); err != nil {
			return err
		}
		fmt.Fprintln(out)
		for _, s := range boots {
			broken = append(broken, printVerdicts(out, judge(s))...)
		}
	}
	if len(broken) > 0 {
		return fmt.Errorf("%w: %s", errBroken, strings.Join(broken, "; "))
	}
	return nil
}

// plan decides what is measured, and builds it in dir.
func (o options) plan(ctx context.Context, cache lab.Cache, dir string) (plan, error) {
	p := plan{variants: variants(), files: map[string]string{}}
	for _, w := range workloads {
		if (!o.short || slices.Contains(shortWorkloads, w.name)) && o.wants(w.name) {
			p.workloads = append(p.workloads, w)
		}
	}
	if len(p.workloads) == 0 {
		return p, fmt.Errorf("no workload is called %q", o.workloads)
	}
	withPeers := o.peers && !o.short
	p.variants = slices.DeleteFunc(p.variants, func(v variant) bool {
		return v.peer && !withPeers || o.short && !slices.Contains(shortVariants, v.name)
	})
	if withPeers {
		from, err := peers().Fetch(ctx, cache)
		if err != nil {
			return p, err
		}
		p.files[peersDir] = from
	}
	if err := buildPrograms(ctx, cache, dir, p.files); err != nil {
		return p, err
	}
	if o.tool != "" {
		p.files[binDir+"netns-trace"] = o.tool
	}
	return p, nil
}

func (o options) wants(workload string) bool {
	return o.workloads == "" || slices.Contains(strings.Split(o.workloads, ","), workload)
}

// buildPrograms builds what runs in the guest, in dir where it is ours, and adds it to
// files: path in the guest to path on the host.
func buildPrograms(ctx context.Context, cache lab.Cache, dir string, files map[string]string) error {
	root, err := lab.RepositoryRoot()
	if err != nil {
		return err
	}
	for _, pkg := range []string{"cmd/netns-trace", "bench/empty", "bench/hist"} {
		path, err := lab.BuildGo(ctx, lab.Cache{Dir: dir}, filepath.Join(root, pkg))
		if err != nil {
			return err
		}
		files[binDir+filepath.Base(pkg)] = path
	}
	ops, err := lab.BuildC(ctx, cache, filepath.Join(root, "bench/ops"))
	if err != nil {
		return err
	}
	files[binDir+"ops"] = filepath.Join(ops, "ops")
	return nil
}
