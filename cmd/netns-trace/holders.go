// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/holders"
	"github.com/netns-trace/netns-trace/pkg/identity"
	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/refs"
	"github.com/netns-trace/netns-trace/pkg/trace"
	"github.com/netns-trace/netns-trace/pkg/userstack"
)

// holdersOptions are the flags of netns-trace holders.
type holdersOptions struct {
	output  liveOptions // those of its flags that are about output and attaching
	netns   string
	all     bool
	maxMBps uint64
	core    string // a crash dump's file
	symbols string // a file with the symbols of the kernel that crashed
}

// searchable is a kernel whose memory can be searched.
type searchable interface {
	Waiting() ([]*holders.Device, error)
	Devices() ([]*holders.Device, error)
	FindUnregistered(ctx context.Context, o holders.Options) (found []*holders.Device, notSaved uint64, err error)
	Search(ctx context.Context, devices, others []*holders.Device, o holders.Options, emit func(record.Record)) error
}

// subject is what is searched, and what is known beside it.
type subject struct {
	searchable
	names netnsNames
	clock *record.Clock
	now   func() uint64
	// nameOf gives records of the names that a record mentions.
	nameOf func(record.Record) []record.Record
	// join feeds what else is known of the devices; it may be nil.
	join func(devices []*holders.Device, feed func(record.Record))
}

const holdersLong = `holders finds out what holds a network device, when it is already stuck and
nothing was traced before: it searches the kernel's memory for what points at it.
With --netns it tells what keeps a network namespace alive: which threads,
descriptors, sockets and bind mounts.

Without arguments it looks for the devices that wait in unregistration ("waiting for
veth1 to become free"). With arguments it takes any device: a DEVICE is a name, an
ifindex, or NETNS:NAME when several namespaces have the name; NETNS is a name of
"ip netns", a container, or an inode number.

With --core it searches the memory of a machine that crashed, as kdump or QEMU saved it,
and needs neither root nor anything else of that machine. Kernels before 6.0 do not tell
their symbols in a dump: --symbols names the System.map, a saved /proc/kallsyms, or the
vmlinux of that kernel. The dump may be ELF, or compressed by makedumpfile (zlib, zstd,
snappy) or QEMU.

The search only reads, takes no lock of the kernel, asks nothing of its network stack,
and keeps to one processor. On a running machine it needs CAP_SYS_RAWIO and CAP_SYSLOG,
which root has, a kernel with BTF, 5.10 or newer, on x86-64, and no lockdown.`

const holdersExample = `  sudo netns-trace holders                  what holds the devices that wait
  sudo netns-trace holders veth1            what holds veth1
  sudo netns-trace holders --all --json     all references of all devices
  sudo netns-trace holders --netns red      what keeps the namespace red alive
  sudo netns-trace holders --netns all      namespaces that nobody lives in or can name
  netns-trace holders --core vmcore         what held the devices that waited when it crashed`

func newHoldersCommand() *cobra.Command {
	var o holdersOptions
	cmd := &cobra.Command{
		Use:     "holders [DEVICE...]",
		Short:   "Tell what holds a network device that is already stuck",
		Long:    holdersLong,
		Example: holdersExample,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(args); err != nil {
				return err
			}
			if o.netns != "" {
				return netnsPins(cmd.Context(), o.netns, &o.output)
			}
			if o.core != "" {
				return o.runDump(cmd.Context(), args)
			}
			return o.run(cmd.Context(), args)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&o.all, "all", false, "all devices of all namespaces, healthy ones too")
	f.Uint64Var(&o.maxMBps, "max-mbps", 0, "read at most so many megabytes of memory a second (0: as fast as it goes)")
	f.StringVar(&o.netns, "netns", "", "what keeps `NETNS` alive: a network namespace by name, path, inode number or container; or \"all\"")
	f.StringVar(&o.core, "core", "", "search the crash dump in `FILE` instead of the running kernel")
	f.StringVar(&o.symbols, "symbols", "", "with --core: `FILE` with the symbols of that kernel, if the dump does not tell them: System.map or vmlinux")
	f.BoolVar(&o.output.json, "json", false, "print findings as JSON, one a line")
	f.BoolVarP(&o.output.quiet, "quiet", "q", false, "print findings only")
	f.BoolVarP(&o.output.verbose, "verbose", "v", false, "with --netns: print how each thing is seen on this kernel")
	f.StringVar(&o.output.color, "color", "auto", "colour the text: auto, always or never")
	f.StringSliceVar(&o.output.avoid, "avoid", nil, "with --netns: ways of attaching not to use, such as iter: "+kindNames())
	return cmd
}

func (o *holdersOptions) check(args []string) error {
	switch {
	case o.all && len(args) > 0:
		return usagef("--all takes no devices: it means all of them")
	case o.netns != "" && len(args) > 0:
		return usagef("--netns takes no devices: it is about the namespace")
	case o.all && o.netns != "":
		return usagef("--all is about devices, --netns about a namespace: --netns all is about all of those")
	case o.core == "" && o.symbols != "":
		return usagef("--symbols are those of the kernel of a crash dump: it needs --core")
	case o.core != "" && o.netns != "":
		return usagef("--netns asks the running kernel, which a crash dump is not: with --core only devices can be asked for")
	case o.core != "" && o.maxMBps != 0:
		return usagef("--max-mbps spares a running machine: reading a crash dump disturbs none")
	case !slices.Contains([]string{"auto", "always", "never"}, o.output.color):
		return usagef("--color is auto, always or never, not %q", o.output.color)
	}
	return checkAvoid(o.output.avoid)
}

func (o *holdersOptions) run(ctx context.Context, args []string) error {
	// The machine may be in trouble, and is not to be made busy as a whole.
	runtime.GOMAXPROCS(1)
	running, err := openMemory()
	if err != nil {
		return err
	}
	defer running.Close()
	names := identity.New("")
	namer := trace.NewNamer(names, func() *kernel.Symbols { return nil }, userstack.New(userstack.Options{}), false)
	return o.find(ctx, &subject{
		searchable: running, names: names, clock: probe.Clock(), now: probe.Now, nameOf: namer.Names,
		join: func(devices []*holders.Device, feed func(record.Record)) { o.joinLedger(ctx, devices, names, feed) },
	}, args)
}

// find searches for the devices that are asked for.
func (o *holdersOptions) find(ctx context.Context, k *subject, args []string) error {
	devices, known, notSaved, err := o.choose(ctx, k, args)
	if err != nil {
		return err
	}
	if len(devices) == 0 {
		say := o.output.speaker()
		say.printf("no network device waits in unregistration%s\n", unsavedWords(notSaved))
		return nil
	}
	return o.search(ctx, k, devices, known)
}

// unsavedWords bounds what was said to what was saved.
func unsavedWords(pages uint64) string {
	if pages == 0 {
		return ""
	}
	return fmt.Sprintf(", as far as was saved: %d pages that can have objects are not in the dump", pages)
}

// openMemory opens the running kernel's memory, or says what is missing.
func openMemory() (*holders.Running, error) {
	if lockdown, err := kernel.ReadLockdown(); err == nil && lockdown == kernel.LockdownConfidentiality {
		return nil, errors.New("the kernel is locked down (confidentiality): nobody may read its memory. " +
			"A running kernel cannot be unlocked; netns-trace needs to have been started before there")
	}
	running, err := holders.OpenRunning()
	return running, unreadable(err)
}

// unreadable adds to an error of opening the kernel's memory what it needs.
func unreadable(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: reading the kernel's memory needs root, or CAP_SYS_RAWIO (and no lockdown): try sudo", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: the search needs /proc/kcore (CONFIG_PROC_KCORE) and the kernel's types (CONFIG_DEBUG_INFO_BTF)", err)
	}
	return err
}

// choose returns the devices to search for, and those that are known beside them; if
// the memory had to be searched for them, how much of it was not saved.
func (o *holdersOptions) choose(ctx context.Context, k *subject, args []string) (devices, known []*holders.Device, notSaved uint64, err error) {
	waiting, err := k.Waiting()
	if err != nil {
		return nil, nil, 0, fmt.Errorf("looking for devices that wait: %w", err)
	}
	known, err = k.Devices()
	if err != nil {
		return nil, nil, 0, fmt.Errorf("listing network devices: %w", err)
	}
	every := append(slices.Clone(waiting), known...)
	switch {
	case o.all:
		return every, nil, 0, nil
	case len(args) == 0:
		if len(waiting) == 0 {
			waiting, notSaved, err = o.findWaiting(ctx, k)
		}
		return waiting, known, notSaved, err
	}
	for _, arg := range args {
		d, err := pickDevice(arg, every, k.names)
		if err != nil {
			return nil, nil, 0, err
		}
		devices = append(devices, d)
	}
	return devices, every, 0, nil
}

// findWaiting looks for devices that wait although no thread is seen to wait for them.
func (o *holdersOptions) findWaiting(ctx context.Context, k *subject) (found []*holders.Device, notSaved uint64, err error) {
	progress := newProgress(o.output.quiet, os.Stderr)
	defer progress.end()
	found, notSaved, err = k.FindUnregistered(ctx, holders.Options{BytesPerSecond: o.maxMBps * 1e6, Progress: progress.report})
	if err != nil {
		return nil, 0, fmt.Errorf("looking for devices that wait: %w", err)
	}
	return found, notSaved, nil
}

func (o *holdersOptions) search(ctx context.Context, k *subject, devices, known []*holders.Device) error {
	out := o.output.writer(os.Stdout)
	var outErr error
	stuck := false
	wording := new(finding.Knowledge)
	engine := trace.NewEngine(wording, func(f *finding.Finding) {
		stuck = stuck || f.Kind == refs.KindLeaked || f.Details["device_state"] == "waiting"
		if outErr == nil {
			outErr = out.Write(f)
		}
	}, refs.NewSearches(wording))
	engine.Feed(k.clock)
	progress := newProgress(o.output.quiet, os.Stderr)
	told, unsaved := make(map[uint64]bool), uint64(0)
	var ledger sync.Once // read when the memory has been: closest to what was found
	err := k.Search(ctx, devices, known, holders.Options{
		BytesPerSecond: o.maxMBps * 1e6, Progress: progress.report, Now: k.now, Settle: time.Second, Attempts: o.attempts(),
	}, func(rec record.Record) {
		progress.end()
		ledger.Do(func() {
			if k.join != nil {
				k.join(devices, engine.Feed)
			}
		})
		for _, name := range k.nameOf(rec) {
			engine.Feed(name)
		}
		engine.Feed(rec)
		if r, ok := rec.(*record.HolderSearch); ok {
			told[r.Dev], unsaved = true, r.NotSaved
		}
	})
	progress.end()
	switch {
	case err != nil && ctx.Err() != nil:
		return errors.New("interrupted before the search ended")
	case err != nil:
		return err
	case outErr != nil:
		return outErr
	}
	say := o.output.speaker()
	if unsaved > 0 {
		say.printf("%d pages that can have objects are not in the dump: other devices may have waited, and other objects held them\n", unsaved)
	}
	for _, d := range devices {
		if !told[d.Addr] {
			say.printf("%s was freed during the search: nothing holds it any more\n", d.Name)
		}
	}
	if stuck {
		return errFound
	}
	return nil
}

// attempts is how often a device is searched for whose references change meanwhile: all
// of a busy machine's do.
func (o *holdersOptions) attempts() int {
	if o.all {
		return 1
	}
	return 3
}

// progress shows how far the search is, on a terminal.
type progress struct {
	w       io.Writer
	started time.Time
	shown   time.Time
	pass    int
}

func newProgress(quiet bool, f *os.File) *progress {
	if quiet || !term.IsTerminal(int(f.Fd())) {
		return &progress{}
	}
	return &progress{w: f}
}

func (p *progress) report(pass int, done, total uint64) {
	now := time.Now()
	if pass != p.pass {
		p.pass, p.started = pass, now
	}
	const every = 100 * time.Millisecond
	if p.w == nil || total == 0 || now.Sub(p.shown) < every {
		return
	}
	p.shown = now
	left := time.Duration(float64(now.Sub(p.started)) * (float64(total)/float64(max(done, 1)) - 1))
	fmt.Fprintf(p.w, "\r\x1b[Ksearching memory, pass %d: %d%%, %s left", pass, done*100/total, left.Round(time.Second))
}

// end takes the line away.
func (p *progress) end() {
	if p.w != nil && !p.shown.IsZero() {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = time.Time{}
	}
}
