// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/netns-trace/netns-trace/test/lab"
)

// plan is what is measured.
type plan struct {
	variants  []variant
	workloads []workload
	files     map[string]string // see [boot]
	progress  io.Writer
}

// warmUp is attached once, and the workloads are done once, before anything is
// measured: the first packets take a few instructions more than later ones, and on 6.1
// a path that has been traced once in a boot stays longer than it was, by 12 to 18
// instructions a packet.
var warmUp = variant{name: "warm-up", argv: empty(slices.Concat(bestPlaces, kprobePlaces))}

// measure boots a kernel and takes every figure of the plan. Each variant is measured
// between two measurements without any.
func (p plan) measure(ctx context.Context, cache lab.Cache, kernel lab.Kernel) (figures, error) {
	all := figures{kernel: kernel.Name, release: kernel.Release}
	g, err := boot(ctx, cache, kernel, p.files)
	if err != nil {
		return all, err
	}
	defer g.close()
	t, err := g.attach(ctx, warmUp)
	if err != nil {
		return all, err
	}
	if err := t.end(0); err != nil {
		return all, err
	}
	for _, w := range p.workloads {
		if !w.exact { // nothing would be seen of it
			continue
		}
		if _, err := g.measure(ctx, w); err != nil {
			return all, err
		}
	}
	untraced := map[string]float64{}
	for _, v := range p.variants {
		list, err := p.settled(ctx, g, v, untraced)
		if err != nil {
			return all, fmt.Errorf("kernel %s: %s: %w", kernel.Name, v.name, err)
		}
		if len(list) == 0 {
			continue
		}
		// All of it takes long: what is known is told, in case the rest is not waited for.
		fmt.Fprintf(p.progress, "%s: %s:", kernel.Name, v.name)
		for _, f := range list {
			fmt.Fprintf(p.progress, " %s %+.1f", f.workload, f.added())
		}
		fmt.Fprintln(p.progress)
		all.list = append(all.list, list...)
	}
	if complaints := g.vm.Complaints(); len(complaints) > 0 {
		return all, fmt.Errorf("kernel %s complained: %s", kernel.Name, complaints[0])
	}
	return all, nil
}

// tries is how often a variant is measured when the untraced workload is not after it
// what it was before. The kernel's own changes of mind come once: of a clone by 4,500
// instructions, of a route by 15,000. What a tracer leaves behind is there each time.
const tries = 3

// settled measures one variant, and anew the workloads that were not the same before
// and after.
func (p plan) settled(ctx context.Context, g *guest, v variant, untraced map[string]float64) ([]figure, error) {
	list, err := p.one(ctx, g, v, p.workloads, untraced)
	for range tries - 1 {
		var again []workload
		for _, w := range p.workloads {
			if i := indexOf(list, w.name, v.name); i >= 0 && w.exact && !list[i].settled() {
				again = append(again, w)
			}
		}
		if err != nil || len(again) == 0 {
			break
		}
		var anew []figure
		anew, err = p.one(ctx, g, v, again, untraced)
		for _, f := range anew {
			fmt.Fprintf(p.progress, "measured again: %s, %s: %.0f before, %.0f after\n", v.name, f.workload, f.before, f.after)
			list[indexOf(list, f.workload, v.name)] = f
		}
	}
	return list, err
}

// one measures one variant on some workloads. untraced has what was measured without any since the last
// one, by workload, and gets what is measured after this one: older figures say little,
// a path may have become longer or shorter meanwhile.
func (p plan) one(ctx context.Context, g *guest, v variant, on []workload, untraced map[string]float64) ([]figure, error) {
	var list []figure
	var measured []workload // of each figure
	for _, w := range on {
		if !v.measures(w.name) {
			continue
		}
		f := figure{workload: w.name, variant: v.name}
		var ok bool
		if f.before, ok = untraced[w.name]; !ok {
			var err error
			if f.before, err = g.measure(ctx, w); err != nil {
				return nil, err
			}
		}
		list, measured = append(list, f), append(measured, w)
	}
	if len(list) == 0 {
		return nil, nil
	}
	t, err := g.attach(ctx, v)
	if err != nil && v.peer && ctx.Err() == nil && g.vm.Err() == nil {
		fmt.Fprintf(p.progress, "not measured: %s: %v\n", v.name, err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for i, w := range measured {
		if list[i].traced, err = t.measure(ctx, g, w); err != nil {
			break
		}
	}
	code := anyCode
	if v.ours {
		code = 0 // nothing was found: the workloads are healthy
	}
	if ended := t.end(code); err != nil || ended != nil {
		return nil, errors.Join(err, ended)
	}
	if len(on) == len(p.workloads) { // else the others were measured after this variant just now
		clear(untraced)
	}
	for i, w := range measured {
		if list[i].after, err = g.measure(ctx, w); err != nil {
			return nil, err
		}
		untraced[w.name] = list[i].after
	}
	return list, nil
}
