// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// set is one compiled object with all its ways, before the kernel is asked.
type set struct {
	detector  string
	spec      func() (*ebpf.CollectionSpec, error)
	points    []point
	configure func(*ebpf.CollectionSpec) error
	sized     func(*ebpf.CollectionSpec)            // called when tables have their size; may be nil
	attached  func(maps map[string]*ebpf.Map) error // called once everything is attached; may be nil
	maps      map[string]*ebpf.Map                  // that are there already: another object's
	halvings  int                                   // of the large tables
}

// object is what of a set is in the kernel.
type object struct {
	plan     Plan
	maps     map[string]*ebpf.Map
	programs map[string]*ebpf.Program
	// missedBefore are the missed hits of programs that were unloaded.
	missedBefore uint64
	links        []attachment
	iterators    map[string]*link.Iter // by program

	detector string
	points   []point // of the plan, in its order
	loader   loader  // for points that wait for their module
}

// attachment is a way that was taken.
type attachment struct {
	way Way
	closers
}

// load takes the best way for each point: first of those that the kernel, asked,
// can be expected to allow; and when it refuses one all the same, the next.
func (s *set) load(ctx context.Context, k Kernel, ring *ebpf.Map, avoid []Kind) (*object, error) {
	spec, err := s.spec()
	if err != nil {
		return nil, fmt.Errorf("reading the programs of %s: %w", s.detector, err)
	}
	if err := s.configure(spec); err != nil {
		return nil, fmt.Errorf("configuring the programs of %s: %w", s.detector, err)
	}
	if err := setVariables(spec, map[string]any{"self_tgid": uint32(os.Getpid())}); err != nil {
		return nil, fmt.Errorf("configuring the programs of %s: %w", s.detector, err)
	}
	if err := countLosses(spec); err != nil {
		return nil, err
	}
	shrink(spec, s.halvings)
	if s.sized != nil {
		s.sized(spec)
	}
	spec.Maps["ring"].MaxEntries = ring.MaxEntries()

	o := &object{
		programs: make(map[string]*ebpf.Program), iterators: make(map[string]*link.Iter),
		detector: s.detector, points: s.points,
	}
	ask := asker{kernel: k, avoid: avoid, programs: spec.Programs}
	o.loader = loader{spec: spec, cache: k.Types.Cache(), maps: map[string]*ebpf.Map{"ring": ring}}
	maps.Copy(o.loader.maps, s.maps)
	if err := o.loader.begin(s.points, ask); err != nil {
		return nil, fmt.Errorf("loading the programs of %s: %w", s.detector, err)
	}
	o.maps = o.loader.maps
	for _, p := range s.points {
		if err := ctx.Err(); err != nil {
			return o, err
		}
		out := o.attach(p, ask)
		if out.Way == nil && out.WaitsFor == "" && p.required {
			out.Lost = fmt.Sprintf("%s does not work here: %s cannot be seen", s.detector, p.thing)
			return o, &UnseenError{Outcome: out}
		}
		o.plan = append(o.plan, out)
	}
	if s.attached != nil {
		if err := s.attached(o.maps); err != nil {
			return o, err
		}
	}
	return o, nil
}

// attach tries the ways of a point in order.
func (o *object) attach(p point, ask asker) Outcome {
	out := Outcome{Detector: o.detector, Thing: p.thing}
	if !ask.present(p) {
		out.WaitsFor = p.module
		return out
	}
	for _, way := range p.ways {
		hooks, err := ask.can(p, way)
		if err == nil {
			err = o.take(way, hooks, o.maps[p.over])
		}
		if err == nil {
			out.Way = &way
			out.VerifiedInstructions = o.verified(way)
			return out
		}
		out.Refused = append(out.Refused, Refusal{Way: way, Reason: reason(err)})
	}
	out.Lost = p.lost
	return out
}

// concerns reports whether a point is in the module.
func (o *object) concerns(module string) bool {
	return slices.ContainsFunc(o.points, func(p point) bool { return p.module == module })
}

// moduleLoaded attaches the points that are in the module, and returns what came of
// them. What was attached before was in an earlier load of it, and went with that: a
// kprobe does not keep a module from being unloaded.
func (o *object) moduleLoaded(module string, ask asker) []Outcome {
	var out []Outcome
	ask.programs = o.loader.spec.Programs
	for i, p := range o.points {
		if p.module != module || !ask.present(p) {
			continue
		}
		if gone := o.plan[i].Way; gone != nil {
			o.release(*gone)
		}
		o.plan[i] = o.attach(p, ask)
		out = append(out, o.plan[i])
	}
	return out
}

// leaveOut takes the probes of some things off while the others stay.
func (o *object) leaveOut(things ...string) {
	for i, p := range o.points {
		if way := o.plan[i].Way; way != nil && slices.Contains(things, p.thing) {
			o.release(*way)
			o.plan[i].Way, o.plan[i].Lost = nil, p.lost
		}
	}
}

// release frees what is left of a way whose function is gone.
func (o *object) release(way Way) {
	o.links = slices.DeleteFunc(o.links, func(a attachment) bool {
		if a.way.String() != way.String() {
			return false
		}
		_ = a.Close() // it fails where the kernel has taken the probe off already
		return true
	})
	for _, name := range way.programs {
		o.unload(name)
	}
}

// unload frees a program, and keeps the count of the hits that it missed.
func (o *object) unload(name string) {
	p := o.programs[name]
	if p == nil {
		return
	}
	if stats, err := p.Stats(); err == nil {
		o.missedBefore += stats.RecursionMisses
	}
	_ = p.Close() // nothing refers to it any more
	delete(o.programs, name)
}

// take loads and attaches the programs of one way: all or none.
func (o *object) take(way Way, hooks []hook, over *ebpf.Map) error {
	var taken []io.Closer
	for _, h := range hooks {
		prog, err := o.loader.program(h.program)
		if err == nil {
			o.programs[h.program] = prog
			var c io.Closer
			if c, err = attachProgram(prog, h, over); err == nil {
				taken = append(taken, c)
				continue
			}
		}
		err = errors.Join(err, closers(taken).Close())
		for _, loaded := range hooks {
			o.unload(loaded.program) // another way may want it again
		}
		return err
	}
	for i, c := range taken {
		if it, ok := c.(*link.Iter); ok {
			o.iterators[hooks[i].program] = it
		}
	}
	o.links = append(o.links, attachment{way, taken})
	return nil
}

func attachProgram(prog *ebpf.Program, h hook, over *ebpf.Map) (io.Closer, error) {
	switch h.kind {
	case Fentry, Fexit, TPBTF:
		return link.AttachTracing(link.TracingOptions{Program: prog})
	case RawTP:
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: h.target, Program: prog})
	case Iter:
		return link.AttachIter(link.IterOptions{Program: prog, Map: over})
	case Kprobe:
		return attachKprobe(prog, h.addr, false)
	case Kretprobe:
		return attachKprobe(prog, h.addr, true)
	}
	return nil, fmt.Errorf("no way to attach a program of kind %q", h.kind)
}

func (o *object) verified(way Way) uint32 {
	var sum uint32
	for _, name := range way.programs {
		info, err := o.programs[name].Info()
		if err != nil {
			return 0
		}
		n, ok := info.VerifiedInstructions()
		if !ok {
			return 0
		}
		sum += n
	}
	return sum
}

// slowLinks are the descriptors of what the kernel takes long to take off: a tenth of a
// second or more for each function that fentry is on, one after the other (6.12).
func (o *object) slowLinks() []int {
	var fds []int
	for _, l := range o.links {
		for _, c := range l.closers {
			if f, ok := c.(interface{ FD() int }); ok && (l.way.Kind == Fentry || l.way.Kind == Fexit) {
				fds = append(fds, f.FD())
			}
		}
	}
	return fds
}

// detach takes the probes off, last attached first.
func (o *object) detach() error {
	var errs []error
	for _, l := range slices.Backward(o.links) {
		errs = append(errs, l.Close())
	}
	o.links = nil
	clear(o.iterators)
	return errors.Join(errs...)
}

// Close detaches and frees.
func (o *object) Close() error {
	errs := []error{o.detach()}
	for _, p := range o.programs {
		errs = append(errs, p.Close())
	}
	for _, p := range o.loader.loaded { // and never asked for
		errs = append(errs, p.Close())
	}
	for name, m := range o.maps {
		if name != "ring" { // the session's
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}

func setVariables(spec *ebpf.CollectionSpec, values map[string]any) error {
	for name, value := range values {
		v := spec.Variables[name]
		if v == nil {
			continue // an object that does not use it does not have it
		}
		if err := v.Set(value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	return nil
}

// reason is an error in one line: the verifier's log is long, its last line before
// the statistics says what was wrong.
func reason(err error) string {
	var v *ebpf.VerifierError
	if errors.As(err, &v) {
		for _, line := range slices.Backward(v.Log) {
			line = strings.TrimSpace(line)
			if line != "" && !strings.HasPrefix(line, "processed ") && !strings.HasPrefix(line, "verification time ") {
				return fmt.Sprintf("%v: %s", v.Cause, line)
			}
		}
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}
