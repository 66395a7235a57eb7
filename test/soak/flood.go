// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/netns-trace/netns-trace/test/lab"
)

const (
	noLimit = "log-format: json\n"
	limited = "log-format: json\nmax-cpu: 5%\n"

	floodLasts = 90 * time.Second
	lastStep   = 5 // of the budget
	// floodSettles is how long the last step is looked at.
	floodSettles = 20 * time.Second
	// recovery is longer than it has to be calm before a step is taken back.
	recovery = 200 * time.Second
)

// floods are done one after the other.
var floods = []struct{ kind, what string }{
	{"references", "references of a device, taken and dropped"},
	{"packets", "UDP packets over veth"},
	{"devices", "50 devices, made and deleted"},
	{"dst", "routes that cannot be allocated"},
	{"netns", "moves to a namespace and back"},
}

// rates takes in what a load prints.
type rates struct {
	mu   sync.Mutex
	rest []byte
	all  []float64
}

func (r *rates) Write(text []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rest = append(r.rest, text...)
	for {
		line, rest, ok := bytes.Cut(r.rest, []byte("\n"))
		if !ok {
			return len(text), nil
		}
		r.rest = rest
		if n, err := strconv.ParseFloat(string(line), 64); err == nil {
			r.all = append(r.all, n)
		}
	}
}

// last is the mean of the last so many seconds.
func (r *rates) last(seconds int) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	tail := r.all[max(0, len(r.all)-seconds):]
	sum := 0.0
	for _, n := range tail {
		sum += n
	}
	return sum / float64(max(1, len(tail)))
}

func flood(ctx context.Context, g *guest) error {
	if err := exact(ctx, g); err != nil {
		return err
	}
	for i, f := range floods {
		if err := g.reload(ctx, limited); err != nil {
			return err
		}
		if err := one(ctx, g, f.kind, f.what); err != nil {
			return fmt.Errorf("%s: %w", f.kind, err)
		}
		if i == len(floods)-1 {
			break
		}
		// Without a limit all is taken in again, at once.
		if err := g.reload(ctx, noLimit); err != nil {
			return err
		}
		if err := g.waitFor(ctx, 3*time.Minute, func(m metrics) bool {
			return m["netns_trace_budget_step"] == 0 && m.sum("netns_trace_probes", `class="refs"`) > 0
		}); err != nil {
			return err
		}
	}
	began := time.Now()
	m, err := g.scrape(ctx)
	if err != nil {
		return err
	}
	deepest := m["netns_trace_budget_step"]
	if err := g.waitFor(ctx, recovery, func(m metrics) bool { return m["netns_trace_budget_step"] < deepest }); err != nil {
		return fmt.Errorf("no step is taken back: %w", err)
	}
	fmt.Printf("calm: step %.0f was taken back after %.0f s\n", deepest, time.Since(began).Seconds())
	return g.end()
}

// one floods once, and prints what became of it.
func one(ctx context.Context, g *guest, kind, what string) error {
	var seen rates
	load, err := g.vm.Start(ctx, lab.Command{Argv: []string{"load", kind}, Stdout: &seen})
	if err != nil {
		return fmt.Errorf("starting the load: %w", err)
	}
	var steps []string
	var m metrics
	most, first, step := 0.0, 0.0, 0.0
	var last time.Time // that the step changed
	for began := time.Now(); time.Since(began) < floodLasts && (step < lastStep || time.Since(last) < floodSettles); {
		time.Sleep(2 * time.Second)
		if m, err = g.scrape(ctx); err != nil {
			return err
		}
		if now := m["netns_trace_budget_step"]; now != step {
			step, last = now, time.Now()
			steps = append(steps, fmt.Sprintf("%.0f after %.0f s", step, time.Since(began).Seconds()))
		}
		if step == 0 {
			first = seen.last(5)
		}
		most = max(most, m["netns_trace_cpu_ratio"])
	}
	fmt.Printf("%s: %s: %.0f a second at first, %.0f at last; cpu %.1f %% at most, %.1f %% at last; steps: %s; lost %.0f\n", kind, what,
		first, seen.last(10), 100*most, 100*m["netns_trace_cpu_ratio"], strings.Join(steps, ", "), m.sum("netns_trace_lost_total"))
	if err := load.Signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("ending the load: %w", err)
	}
	_, err = load.Wait()
	return err
}

// exact does a known number of things at full speed, and looks whether that is what was
// counted.
func exact(ctx context.Context, g *guest) error {
	const pairs, failed = 200_000, 20_000
	if _, err := g.run(ctx, "sh", "-ec", fmt.Sprintf("echo load0 %d > /sys/kernel/debug/refpairs", pairs)); err != nil {
		return err
	}
	text, err := g.run(ctx, "netns-trace", "refs", "--json", "load0")
	if err != nil {
		return err
	}
	var statement struct {
		Taken, Dropped uint64
		Unexplained    *int64
	}
	if err := json.Unmarshal([]byte(text), &statement); err != nil {
		return fmt.Errorf("reading what was counted: %w", err)
	}
	if statement.Unexplained == nil || *statement.Unexplained != 0 || statement.Taken < pairs {
		return fmt.Errorf("%d references were taken and dropped, the ledger says %s", pairs, text)
	}
	fmt.Printf("exact: of %d references of load0 the ledger has %d taken, %d dropped, unexplained %d\n", pairs, statement.Taken, statement.Dropped, *statement.Unexplained)
	if err := g.fail(ctx, failed/1000); err != nil {
		return err
	}
	const counted = "netns_trace_dst_allocation_failures_total"
	if err := g.waitFor(ctx, time.Minute, func(m metrics) bool { return m.sum(counted) >= failed }); err != nil {
		return err
	}
	m, err := g.scrape(ctx)
	if err == nil && m.sum(counted) != failed {
		err = errors.New("more failures were counted than there were")
	}
	fmt.Printf("exact: of %d failed allocations %.0f were counted\n", failed, m.sum(counted))
	return err
}

// fail lets so many thousand allocations fail.
func (g *guest) fail(ctx context.Context, thousands int) error {
	_, err := g.run(ctx, "load", "dst", strconv.Itoa(thousands))
	return err
}
