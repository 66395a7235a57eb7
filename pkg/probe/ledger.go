// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"github.com/netns-trace/netns-trace/pkg/refsite"
	"github.com/netns-trace/netns-trace/pkg/textprobe"
)

// partLedger is the ledger of references, a part of the refs detector with an object
// of its own.
const partLedger = "ledger"

const (
	thingSites = "every dev_hold and dev_put"
	lostSites  = "references are not counted one by one: only those of objects whose making is seen are explained"
)

// LedgerOptions says what the ledger of references shall hold.
type LedgerOptions struct {
	// Off leaves it out.
	Off bool
	// Required makes it an error that it cannot be kept.
	Required bool
	// Devices is for how many net_devices there is room; 0 is the default.
	Devices uint32
	// Device restricts it to devices that are given this name when they are made.
	Device string
	// Hot watches also the sites that are hit for every packet.
	Hot bool
	// Jumps puts the probes on the loads before sites, where the kernel replaces their
	// breakpoints by jumps. That spares each hit a third or more, but such a probe can
	// be interrupted, and what then is hit is missed.
	Jumps bool
	// Progress, if not nil, is told how many of all sites are watched by now.
	Progress func(done, all int)
}

const (
	defaultLedgerDevices = 2048
	// How many call traces there is room for: a device has some ten after its making,
	// and what is balanced makes room. One takes 180 bytes.
	mostTraces      = 32 // a device, while they are fewer than leastTraces in all
	leastTraces     = 65536
	tracesPerDevice = 10
	// spareSites is room for the sites of modules that are loaded later.
	spareSites = 128
	// ledgerHead is sizeof(struct ledger) less its hits, in bpf/ledger_device.h.
	ledgerHead = 48
	maxSites   = 4096 // MAX_SITES of bpf/ledger_site.h
)

var ledgerPoints = []point{
	{
		thing: "what is in the ledger",
		ways:  []Way{{Iter, iterMapElem, []string{ledgerProgLedgersIter}}},
		over:  ledgerMapRefLedgers, required: true,
	},
	{
		thing: "call traces of references",
		ways:  []Way{{Iter, iterMapElem, []string{ledgerProgTracesIter}}},
		over:  ledgerMapRefTraces, required: true,
	},
	{
		thing: "call traces of no use being dropped",
		ways:  []Way{{Iter, iterMapElem, []string{ledgerProgDeadIter}}},
		over:  ledgerMapRefDead, required: true,
	},
	{
		thing: "devices being made",
		lost:  "what a device has from its making on is in no ledger",
		ways: []Way{
			{Fexit, "alloc_netdev_mqs", []string{ledgerProgAllocatedFexit}},
			{Kretprobe, "alloc_netdev_mqs", []string{ledgerProgAllocatedKretprobe}},
		},
		required: true,
	},
	{
		thing: "devices and their ledgers being freed",
		ways: []Way{
			{Fentry, "free_netdev", []string{ledgerProgUnallocatedFentry}},
			{Kprobe, "free_netdev", []string{ledgerProgUnallocatedKprobe}},
		},
		required: true,
	},
}

// ledger is the ledger at work.
type ledger struct {
	object *object
	probes *textprobe.Set
	mu     sync.Mutex // of what follows: modules are looked at beside all else
	table  *siteTable
	// partial: the kernel refused sites, or there was no room for some.
	partial bool
	missed  missedHits

	swept    time.Time     // when call traces were last gone through
	sweeping time.Duration // and how long that took
}

// missedHits are those that the kernel did not hand to the program at all.
type missedHits struct {
	count uint64
	at    time.Time
}

// missedEvery is how often they are asked for: the kernel lists all its kprobe events.
const missedEvery = 10 * time.Second

// lookAtMissed asks for the missed hits, if that was not done just before. Where nobody
// can tell the count stays as it was.
func (l *ledger) lookAtMissed(every time.Duration) {
	if time.Since(l.missed.at) < every {
		return
	}
	l.missed.at = time.Now()
	if n, known, err := l.probes.Missed(); known && err == nil {
		l.missed.count = n
	}
}

// addLedger puts the ledger to work. Where it cannot be had, or not whole, the plan
// says why.
func (s *Session) addLedger(ctx context.Context, k Kernel, o Options) error {
	var l *ledger
	err := errAvoided
	if !slices.Contains(o.Avoid, Kprobe) {
		l, err = openLedger(ctx, k, s.ring, s.halvings, o)
	}
	if err == nil {
		s.ledger = l
		s.objects[partLedger] = l.object
		return nil
	}
	if l != nil {
		err = errors.Join(err, l.close())
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case o.Refs.Ledger.Required:
		return &UnseenError{Outcome: noLedger(err)}
	}
	s.leftOut = append(s.leftOut, noLedger(err))
	return nil
}

// KeepsLedger reports whether references are counted one by one.
func (s *Session) KeepsLedger() bool { return s.ledger != nil }

func noLedger(err error) Outcome {
	return Outcome{
		Detector: DetectorRefs, Thing: thingSites, Lost: lostSites,
		Refused: []Refusal{{Way: Way{Kind: Kprobe, Target: "reference sites"}, Reason: reason(err)}},
	}
}

func openLedger(ctx context.Context, k Kernel, ring *ebpf.Map, halvings int, o Options) (*ledger, error) {
	if err := aloneAtSites(); err != nil {
		return nil, err
	}
	table, err := findSites(ctx, k, o.Refs.Ledger)
	if err != nil {
		return nil, err
	}
	set := &set{
		detector: DetectorRefs, spec: loadLedger, points: ledgerPoints,
		configure: func(spec *ebpf.CollectionSpec) error { return o.Refs.Ledger.configure(spec, k, table) },
		sized:     freeLedgers,
		halvings:  halvings,
	}
	l := &ledger{table: table}
	if l.object, err = set.load(ctx, k, ring, o.Avoid); err != nil {
		return l, err
	}
	prog, err := l.object.loader.program(ledgerProgSiteKprobe)
	if err != nil {
		return l, fmt.Errorf("loading the program of the reference sites: %w", err)
	}
	l.object.programs[ledgerProgSiteKprobe] = prog
	progress := o.Refs.Ledger.Progress
	if progress == nil {
		progress = func(int, int) {}
	}
	done, sites := 0, table.watched()
	tried := func(tried int) {
		if done < len(sites) { // not of modules that come later
			progress(done+tried, len(sites))
		}
	}
	if l.probes, err = textprobe.Open(prog, textprobe.Options{Progress: tried, Reaper: o.Reaper}); err != nil {
		return l, err
	}
	first := min(firstStage, len(sites))
	for _, stage := range [][]*watchedSite{sites[:first], sites[first:]} {
		if err := l.watch(ctx, stage); err != nil {
			return l, err
		}
		done += len(stage)
		progress(done, len(sites))
	}
	if err := ctx.Err(); err != nil {
		return l, err
	}
	if err := writeMapped(l.object.maps[ledgerMapRefState], stateComplete, uint64(1)); err != nil {
		return l, fmt.Errorf("beginning the ledgers: %w", err)
	}
	// The first look says what each device had before.
	if err := l.eachLook(func(*look) {}); err != nil {
		return l, err
	}
	l.object.plan = append(l.object.plan, l.outcome())
	return l, nil
}

// aloneAtSites makes sure that the sites can be found: where another has a probe, its
// bytes are the probe's.
func aloneAtSites() error {
	theirs, err := findLedgerMaps()
	if errors.Is(err, ErrNoLedger) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(errOtherLedger, closeMaps(theirs))
}

var errOtherLedger = errors.New("another netns-trace counts references, and its probes hide where; \"netns-trace refs\" prints its ledger")

// The indexes of the map ref_state.
const (
	stateComplete = uint32(iota)
	stateTraces
	states
)

// size sizes the tables, for ledgers with room for so many sites.
func (o *LedgerOptions) size(spec *ebpf.CollectionSpec, room int) {
	devices := o.Devices
	if devices == 0 {
		devices = defaultLedgerDevices
	}
	ledgers, blank := spec.Maps[ledgerMapRefLedgers], spec.Maps[ledgerMapRefBlank]
	ledgers.MaxEntries = devices
	spec.Maps[ledgerMapRefPlaces].MaxEntries = devices
	spec.Maps[ledgerMapRefFree].MaxEntries = devices
	ledgers.ValueSize = uint32(ledgerHead + 8*room)
	blank.ValueSize = ledgers.ValueSize
	spec.Maps[ledgerMapRefTraces].MaxEntries = min(devices*mostTraces, max(leastTraces, devices*tracesPerDevice))
	spec.Maps[ledgerMapRefSites].MaxEntries = uint32(slotsFor(room))
}

func (o *LedgerOptions) configure(spec *ebpf.CollectionSpec, k Kernel, table *siteTable) error {
	o.size(spec, table.room)
	var name [16]byte
	copy(name[:len(name)-1], o.Device)
	perCPU, cpus := perCPUPlace(k)
	return setVariables(spec, map[string]any{
		ledgerVarPerCpuOffset: perCPU,
		ledgerVarCpus:         cpus,
		ledgerVarSiteRoom:     uint32(table.room),
		ledgerVarSlotShift:    uint32(table.slots.shift),
		ledgerVarRestricted:   o.Device != "",
		ledgerVarOnlyName:     name,
	})
}

// freeLedgers says that all ledgers are nobody's yet.
func freeLedgers(spec *ebpf.CollectionSpec) {
	free := spec.Maps[ledgerMapRefFree]
	free.Contents = nil
	for i := range spec.Maps[ledgerMapRefLedgers].MaxEntries {
		free.Contents = append(free.Contents, ebpf.MapKV{Value: i})
	}
}

// firstStage is how many sites are attached first, so that those behind most reports
// are watched soon. All others are one more stage: leaving waits for each.
const firstStage = 24

// outcome tells how the sites are seen.
func (l *ledger) outcome() Outcome {
	counts := l.probes.Counts()
	out := Outcome{
		Detector: DetectorRefs, Thing: thingSites,
		Way: &Way{
			Kind: Kprobe, Target: fmt.Sprintf("%d of %d reference sites (%s)", counts.Attached, l.table.found, l.probes.Way()),
			programs: []string{ledgerProgSiteKprobe},
		},
	}
	for _, r := range l.table.refused() {
		out.Refused = append(out.Refused, Refusal{Way: Way{Kind: Kprobe, Target: r.place}, Reason: r.reason})
	}
	out.VerifiedInstructions = l.object.verified(*out.Way)
	return out
}

// OptimizedSites tells of how many reference sites are watched, and at how many of them
// the kernel has replaced the probe by a jump by now; it does so in the second or two
// after Open. The last result is false where nothing of that is known: there is no
// ledger, or debugfs cannot be read.
func (s *Session) OptimizedSites() (optimized, watched int, known bool) {
	if s.ledger == nil {
		return 0, 0, false
	}
	optimized, known = s.ledger.probes.Optimized()
	return optimized, s.ledger.probes.Counts().Attached, known
}

func (l *ledger) detach() error {
	if l == nil || l.probes == nil {
		return nil
	}
	// The last word: without the probes nobody knows any more.
	l.lookAtMissed(0)
	err := l.probes.Close()
	l.probes = nil
	return err
}

// close takes the probes off; the object is freed as any other once it is a part of
// the session.
func (l *ledger) close() error {
	err := l.detach()
	if l.object != nil {
		err = errors.Join(err, l.object.Close())
	}
	return err
}

// WatchModules watches the reference sites of modules that have just been loaded, and
// returns what came of it if they have any. It reads all of the kernel's symbols,
// which takes long: it may be called from any goroutine, by one at a time, and has to
// have returned before Detach.
func (s *Session) WatchModules(ctx context.Context, modules []string) []Outcome {
	if s.ledger == nil {
		return nil
	}
	n, err := s.ledger.watchModules(ctx, s.kernel, modules)
	way := Way{Kind: Kprobe, Target: fmt.Sprintf("%d reference sites of %s", n, strings.Join(modules, ", "))}
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return []Outcome{{Detector: DetectorRefs, Thing: thingSites, Lost: lostSites, Refused: []Refusal{{Way: way, Reason: reason(err)}}}}
	case n == 0:
		return nil
	}
	return []Outcome{{Detector: DetectorRefs, Thing: thingSites, Way: &way}}
}

func (l *ledger) watchModules(ctx context.Context, k Kernel, modules []string) (int, error) {
	symbols := k.Reload()
	if symbols == nil {
		return 0, errSymbolsHidden
	}
	sites, err := refsite.InModules(ctx, symbols, k.Types, modules)
	if err != nil {
		return 0, fmt.Errorf("looking for reference sites: %w", err)
	}
	l.mu.Lock()
	fresh := l.table.add(sites)
	l.mu.Unlock()
	if len(fresh) == 0 {
		return 0, nil
	}
	for _, module := range modules {
		l.probes.Forget(module)
	}
	return len(fresh), l.watch(ctx, fresh)
}
