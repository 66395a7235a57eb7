// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/netns-trace/netns-trace/test/lab"
)

// soakSettings: a limit that is never met, so that what the programs take is measured.
const soakSettings = "log-format: json\nmax-cpu: 1000%\n"

const (
	sampleEvery = 15 * time.Second
	// settling is left out of the slope: caches fill, and the heap finds its size.
	settling = 5 * time.Minute
	// slopeLimit is how much the process may grow, in bytes an hour.
	slopeLimit = 1e6
)

// sample is the service at one time.
type sample struct {
	at      time.Duration
	process float64 // bytes that are resident
	live    float64 // bytes of the heap that were reachable at the last garbage collection
	metrics metrics
}

// soak lets namespaces come and go for a while.
func soak(ctx context.Context, g *guest, lasts time.Duration) error {
	churn, err := g.vm.Start(ctx, lab.Command{Argv: []string{"churn", "-pairs", "4", "-for", lasts.String()}})
	if err != nil {
		return fmt.Errorf("starting the load: %w", err)
	}
	var all []sample
	for began := time.Now(); time.Since(began) < lasts; {
		m, err := g.scrape(ctx)
		if err != nil {
			return err
		}
		process, err := g.resident(ctx)
		if err != nil {
			return err
		}
		s := sample{time.Since(began), process, m["go_gc_heap_live_bytes"], m}
		all = append(all, s)
		fmt.Printf("%4.0f s  resident %.1f MiB, live %.1f MiB, cpu %.1f %%, records %.0f, lost %.0f, findings %.0f\n", s.at.Seconds(), s.process/(1<<20), s.live/(1<<20),
			100*m["netns_trace_cpu_ratio"], m["netns_trace_records_total"], m.sum("netns_trace_lost_total"), m.sum("netns_trace_findings_total"))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(sampleEvery):
		}
	}
	if code, err := churn.Wait(); err != nil || code != 0 {
		return errors.Join(fmt.Errorf("the load ended with exit code %d", code), err)
	}
	if err := g.end(); err != nil {
		return err
	}
	return judge(all)
}

// judge prints what came of it. It is an error if the process grew or something was
// found.
func judge(all []sample) error {
	if len(all) == 0 {
		return errors.New("nothing was sampled")
	}
	var settled []sample
	for _, s := range all {
		if s.at >= settling {
			settled = append(settled, s)
		}
	}
	first, last := all[0], all[len(all)-1]
	fmt.Println()
	perHour := tellSlope("resident", all, settled, func(s sample) float64 { return s.process })
	tellSlope("live heap", all, settled, func(s sample) float64 { return s.live })
	took := last.metrics.sum("netns_trace_cpu_seconds_total", "user_space") - first.metrics.sum("netns_trace_cpu_seconds_total", "user_space")
	programs := last.metrics.sum("netns_trace_cpu_seconds_total", "kernel_programs") - first.metrics.sum("netns_trace_cpu_seconds_total", "kernel_programs")
	span := (last.at - first.at).Seconds()
	fmt.Printf("cpu: user space %.2f %%, kernel programs %.2f %% of one\n", 100*took/span, 100*programs/span)
	fmt.Printf("kernel tables: %.1f MiB\n", last.metrics.sum("netns_trace_memory_bytes", "kernel_tables")/(1<<20))
	fmt.Printf("records: %.0f; findings: %.0f\n", last.metrics["netns_trace_records_total"], last.metrics.sum("netns_trace_findings_total"))
	for key, n := range last.metrics {
		if name, _, _ := cutLast(key, "{"); name == "netns_trace_lost_total" {
			fmt.Printf("lost: %s %.0f\n", key, n)
		}
	}
	switch {
	case last.metrics.sum("netns_trace_findings_total") > 0:
		return errors.New("something was found where nothing is wrong")
	case len(settled) > 1 && perHour > slopeLimit:
		return errors.New("the process grows")
	}
	return nil
}

// tellSlope prints how something grew, and returns bytes an hour.
func tellSlope(what string, all, settled []sample, of func(sample) float64) float64 {
	perHour := slope(settled, of) * 3600
	fmt.Printf("%s: %.1f MiB at first, %.1f MiB at last; slope after %s: %+.2f MB an hour\n",
		what, of(all[0])/(1<<20), of(all[len(all)-1])/(1<<20), settling, perHour/1e6)
	return perHour
}

// slope is that of the least squares, in bytes a second; 0 of less than two samples.
func slope(all []sample, of func(sample) float64) float64 {
	var n, x, y, xx, xy float64
	for _, s := range all {
		t, v := s.at.Seconds(), of(s)
		n, x, y, xx, xy = n+1, x+t, y+v, xx+t*t, xy+t*v
	}
	d := n*xx - x*x
	if d == 0 {
		return 0
	}
	return (n*xy - x*y) / d
}
