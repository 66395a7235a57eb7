// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/netns-trace/netns-trace/test/lab"
)

const (
	noLimit = "log-format: json\n"

	// lookEvery is seldom enough for what looking costs to be no part of what is seen.
	lookEvery  = 10 * time.Second
	floodLasts = 5 * time.Minute
	// floodSettles is without another step, which 3 measurements of 15 seconds would
	// have led to, and the time that tracing anew takes in an emulated guest.
	floodSettles = 65 * time.Second
	// lately is of what the last figures are the mean: all of it after the last step.
	lately = 30 * time.Second
	// recovery is longer than the 2 minutes that it has to be calm: each measurement above
	// half of the limit begins them again.
	recovery  = 10 * time.Minute
	calmEvery = 30 * time.Second
)

type kindOfFlood struct{ kind, what string }

// floods are done one after the other.
var floods = []kindOfFlood{
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

// count is how often something was printed.
func (r *rates) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
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

// flood does the floods, of these kinds if there are any, with a limit such as "5%".
func flood(ctx context.Context, g *guest, only []string, limit string) error {
	if len(only) == 0 {
		if err := exact(ctx, g); err != nil {
			return err
		}
	}
	for _, f := range floods {
		if len(only) > 0 && !slices.Contains(only, f.kind) {
			continue
		}
		if err := g.reload(ctx, noLimit+"max-cpu: "+limit+"\n"); err != nil {
			return err
		}
		err := one(ctx, g, f.kind, f.what)
		said, e := g.run(ctx, "sh", "-c", "grep budget "+logFile+"; >"+logFile)
		fmt.Print(said)
		if err := errors.Join(err, e); err != nil {
			return fmt.Errorf("%s: %w", f.kind, err)
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
	return g.end()
}

// look is the service at one time of a flood.
type look struct {
	at       time.Duration
	step     float64
	process  float64 // seconds of a CPU
	programs float64 // likewise: its programs in the kernel
}

// one floods once until the budget takes no further step, and then waits for one to be
// taken back. It prints what became of it.
func one(ctx context.Context, g *guest, kind, what string) error {
	var seen rates
	load, err := g.vm.Start(ctx, lab.Command{Argv: []string{"load", kind}, Stdout: &seen})
	if err != nil {
		return fmt.Errorf("starting the load: %w", err)
	}
	var steps []string
	var all []look
	var m metrics
	most, first, step := 0.0, 0.0, 0.0
	const took = "netns_trace_cpu_seconds_total"
	began := time.Now()
	last := began // that the step changed
	said := 0
	for time.Since(began) < floodLasts && time.Since(last) < floodSettles {
		time.Sleep(lookEvery)
		if m, err = g.scrape(ctx); err != nil {
			return err
		}
		if seen.count() == said {
			return errors.New("the load has ended")
		}
		said = seen.count()
		now := look{time.Since(began), m["netns_trace_budget_step"], m.sum(took, "user_space"), m.sum(took, "kernel_programs")}
		all = append(all, now)
		if now.step != step {
			step, last = now.step, time.Now()
			steps = append(steps, fmt.Sprintf("%.0f after %.0f s", step, now.at.Seconds()))
		}
		if step == 0 {
			first = seen.last(5)
		}
		most = max(most, m["netns_trace_cpu_ratio"])
		fmt.Printf("%4.0f s  step %.0f, cpu %.1f %% by the budget; in the last %s %s; records %.0f; %.0f a second\n", now.at.Seconds(), step,
			100*m["netns_trace_cpu_ratio"], lately, recent(all, lately), m["netns_trace_records_total"], seen.last(5))
	}
	fmt.Printf("%s: %s: %.0f a second at first, %.0f at last; cpu %.1f %% at most, at last %s; steps: %s; lost %.0f\n", kind, what,
		first, seen.last(10), 100*most, recent(all, lately), strings.Join(steps, ", "), m.sum("netns_trace_lost_total"))
	if err := load.Signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("ending the load: %w", err)
	}
	if _, err := load.Wait(); err != nil {
		return fmt.Errorf("ending the load: %w", err)
	}
	if step == 0 {
		return nil // it was never too much
	}
	return calm(ctx, g, kind, step)
}

// calm waits for the first step to be taken back. It looks seldom: to serve the metrics
// takes of the budget too.
func calm(ctx context.Context, g *guest, kind string, deepest float64) error {
	for began := time.Now(); time.Since(began) < recovery; {
		time.Sleep(calmEvery)
		m, err := g.scrape(ctx)
		if err != nil {
			return err
		}
		after := time.Since(began).Seconds()
		if m["netns_trace_budget_step"] < deepest {
			fmt.Printf("%s: step %.0f was taken back %.0f s after the flood\n", kind, deepest, after)
			return nil
		}
		fmt.Printf("%4.0f s after the flood: cpu %.2f %% by the budget\n", after, 100*m["netns_trace_cpu_ratio"])
	}
	return errors.New("no step is taken back")
}

// recent says what share of a CPU was taken in the last while, and by what.
func recent(all []look, while time.Duration) string {
	if len(all) < 2 {
		return "not known yet"
	}
	last := all[len(all)-1]
	from := last
	for i := len(all) - 1; i >= 0 && last.at-from.at < while; i-- {
		from = all[i]
	}
	seconds := (last.at - from.at).Seconds()
	process, programs := (last.process-from.process)/seconds, (last.programs-from.programs)/seconds
	return fmt.Sprintf("%.1f %% (process %.1f, programs %.1f)", 100*(process+programs), 100*process, 100*programs)
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
