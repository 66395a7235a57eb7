// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/netns-trace/netns-trace/pkg/probe"
)

// liveOptions are the flags of live tracing.
type liveOptions struct {
	pids     []int
	comms    []string
	follow   bool
	only     []string
	required []string // of only: what the user named, and cannot be left out
	leftOut  []string // classes that a budget leaves out
	noMoves  bool     // it leaves out moves of threads
	// tableBytes is what a budget leaves for the kernel's tables; 0: it does not matter
	tableBytes uint64
	home       string
	away       time.Duration
	duration   time.Duration

	refs     string
	device   string
	devices  uint32
	hotSites bool
	jumps    bool
	maxMBps  uint64

	csumEvery uint32
	csumRate  uint32

	format    string
	json      bool
	quiet     bool
	verbose   bool
	rawAddrs  bool
	color     string
	readyFile string

	avoid     []string
	ringBytes int
	objects   int
	sample    oneIn

	record recordOptions
}

func (o *liveOptions) addFlags(f *pflag.FlagSet) {
	f.SortFlags = false
	o.addWatchFlags(f)
	o.addOutputFlags(f)
}

// addWatchFlags are those of what is watched, and how.
func (o *liveOptions) addWatchFlags(f *pflag.FlagSet) {
	f.IntSliceVarP(&o.pids, "pid", "p", nil, "watch the threads of these processes only (repeatable; default: all processes)")
	f.StringSliceVar(&o.comms, "comm", nil, "watch the threads of processes of these names, also of those that start later")
	f.BoolVarP(&o.follow, "follow", "f", false, "with --pid or --comm: also watch the children that those processes start")
	f.StringSliceVar(&o.only, "only", nil, "look for these bug classes only: "+strings.Join(probe.Detectors(), ", "))
	f.StringVar(&o.home, "home", "", "where threads belong: a network namespace by `NETNS` (name, path or inode number), or \"any\" "+
		"for daemons whose threads live in several on purpose (default: that of the process's first thread)")
	f.DurationVar(&o.away, "away", 5*time.Second, "how long a thread may be away from home before it is reported")
	f.StringVar(&o.refs, "refs", refsAuto, "how references of devices are followed: sites (each dev_hold and dev_put is counted, where the "+
		"kernel's code does it), functions (by the objects that hold them), auto (both, as far as this kernel allows), search (not at all: "+
		"the kernel's memory is searched for what holds a device once it has waited), or tracker (the same, and an error unless this kernel "+
		"was built to track references itself: the call traces that it has are told beside)")
	f.Uint64Var(&o.maxMBps, "max-mbps", 500, "with --refs search: read at most so many megabytes of memory a second (0: as fast as it goes)")
	f.StringVar(&o.device, "device", "", "count the references of devices of this `NAME` only")
	f.BoolVar(&o.jumps, "jump-sites", false, "count references by jumps instead of breakpoints: cheaper, but a few are missed (and counted as missed)")
	f.BoolVar(&o.hotSites, "hot-sites", false, "count also the references that are taken and dropped for every packet (tun, IPsec, nlmon)")
	f.Uint32Var(&o.csumEvery, "csum-every", 1, "verify the checksum of one in `N` packets that a device has marked as verified; all are counted")
	f.Uint32Var(&o.csumRate, "csum-rate", 10000, "verify at most `N` of those a second; the others are counted as unchecked (0: verify none)")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print whole stacks, and how each thing is seen on this kernel")
	f.BoolVar(&o.rawAddrs, "raw-addresses", false, "print kernel and user addresses beside the symbols of stacks")
	f.StringVar(&o.readyFile, "ready-file", "", "create this `FILE` once everything is attached")
	f.StringSliceVar(&o.avoid, "avoid", nil, "ways of attaching not to use, such as fentry: "+kindNames())
	f.IntVar(&o.ringBytes, "buffer", 1<<20, "`BYTES` of the buffer between kernel and user space, a power of two")
	f.IntVar(&o.objects, "objects", 1<<16, "keep track of up to `N` objects that hold devices; each takes about 150 bytes of kernel memory")
	f.Var(&o.sample, "sample", "follow one in N of those objects, `1/N` with a power of two such as 1/64: with less to do, and without who holds a device that waits "+
		"by an object that is not followed (default: all)")
	f.Uint32Var(&o.devices, "devices", 2048, "count the references of up to `N` devices; each takes about 8 KB of kernel memory")
}

// addOutputFlags are those of findings shown to a person or a pipe, and of when to end.
func (o *liveOptions) addOutputFlags(f *pflag.FlagSet) {
	f.DurationVarP(&o.duration, "duration", "d", 0, "stop after this time (default: Ctrl-C)")
	f.StringVar(&o.format, "format", formText, "how findings are printed: text, json, or references only as kernel developers read them: ref_tracker, balance")
	f.BoolVar(&o.json, "json", false, "the same as --format json: one finding a line")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print findings only: no start message, no last summary")
	f.StringVar(&o.color, "color", "auto", "colour the text: auto, always or never")
}

func kindNames() string {
	var names []string
	for _, k := range probe.Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

// takePIDs takes the words after the flags. `--pid $(pidof containerd-shim)` gives
// several numbers, of which only the first belongs to the flag.
func (o *liveOptions) takePIDs(words []string) error {
	for _, word := range words {
		pid, err := strconv.Atoi(word)
		if err != nil || len(o.pids) == 0 {
			return usagef("unknown command %q", word)
		}
		o.pids = append(o.pids, pid)
	}
	return nil
}

// check finds mistakes before anything is done.
func (o *liveOptions) check() error {
	if err := o.checkOnly(); err != nil {
		return err
	}
	isLeftOut := func(class string) bool { return slices.Contains(o.leftOut, class) }
	o.only = slices.DeleteFunc(slices.Clone(o.only), isLeftOut)
	o.required = slices.DeleteFunc(slices.Clone(o.required), isLeftOut)
	if err := checkAvoid(o.avoid); err != nil {
		return err
	}
	if err := o.record.check(); err != nil {
		return err
	}
	named := len(o.pids) > 0 || len(o.comms) > 0
	if named && o.required == nil {
		o.required = []string{probe.DetectorThreads}
	}
	switch {
	case o.follow && !named:
		return usagef("--follow needs --pid or --comm: without them every process is watched anyway")
	case named && !slices.Contains(o.only, probe.DetectorThreads):
		return usagef("--pid and --comm choose whose threads are watched, but --only leaves threads out")
	case len(o.comms) > probe.MaxComms:
		return usagef("--comm: at most %d names", probe.MaxComms)
	case slices.Contains(o.comms, ""):
		return usagef("--comm: a process name cannot be empty")
	case o.away <= 0:
		return usagef("--away must be more than nothing, got %s", o.away)
	case o.csumEvery == 0:
		return usagef("--csum-every must be 1 or more: one in so many packets is verified (--csum-rate 0 verifies none)")
	case o.duration < 0:
		return usagef("--duration cannot be negative, got %s", o.duration)
	case o.ringBytes < os.Getpagesize() || o.ringBytes > 1<<30 || o.ringBytes&(o.ringBytes-1) != 0:
		return usagef("--buffer must be a power of two from %d to %d, got %d", os.Getpagesize(), 1<<30, o.ringBytes)
	case o.objects < 1 || o.objects > 1<<24:
		return usagef("--objects must be from 1 to %d, got %d", 1<<24, o.objects)
	case !slices.Contains([]string{refsAuto, refsSites, refsFunctions, refsSearch, refsTracker}, o.refs):
		return usagef("--refs is %s, %s, %s, %s or %s, not %q", refsAuto, refsSites, refsFunctions, refsSearch, refsTracker, o.refs)
	case (o.refs == refsFunctions || o.bySearch()) && (o.device != "" || o.hotSites || o.jumps):
		return usagef("--device, --hot-sites and --jump-sites are about counting each reference, which --refs %s does not", o.refs)
	case len(o.device) > 15: // IFNAMSIZ less its end
		return usagef("--device: a device's name has at most 15 characters, %q has %d", o.device, len(o.device))
	case o.devices < 1 || o.devices > 1<<20:
		return usagef("--devices must be from 1 to %d, got %d", 1<<20, o.devices)
	case o.refs == refsSites && o.sample.n() > 1:
		return usagef("--sample is about objects that hold devices, which --refs %s leaves out; references are always counted all", refsSites)
	case o.bySearch() && o.sample.n() > 1:
		return usagef("--sample is about objects that hold devices, of which --refs %s follows none", o.refs)
	case !slices.Contains(forms(), o.format):
		return usagef("--format is %s, not %q", strings.Join(forms(), ", "), o.format)
	case !slices.Contains([]string{"auto", "always", "never"}, o.color):
		return usagef("--color is auto, always or never, not %q", o.color)
	}
	for _, pid := range o.pids {
		if pid <= 0 {
			return usagef("--pid: %d is no process id", pid)
		}
	}
	return nil
}

func checkAvoid(kinds []string) error {
	for _, kind := range kinds {
		if !slices.Contains(probe.Kinds(), probe.Kind(kind)) {
			return usagef("--avoid: no way of attaching is called %q; there are %s", kind, kindNames())
		}
	}
	return nil
}

func (o *liveOptions) checkOnly() error {
	if len(o.only) == 0 {
		o.only = probe.Detectors()
		return nil
	}
	for _, class := range o.only {
		if !slices.Contains(probe.Detectors(), class) {
			return usagef("--only: no bug class is called %q; there are %s",
				class, strings.Join(probe.Detectors(), ", "))
		}
	}
	// In the order in which they are attached, each once.
	o.only = slices.DeleteFunc(probe.Detectors(), func(d string) bool { return !slices.Contains(o.only, d) })
	o.required = o.only
	return nil
}

const homeAny = "any"

// The ways to follow references, of --refs.
const (
	refsAuto      = "auto"
	refsSites     = "sites"
	refsFunctions = "functions"
	refsSearch    = "search"
	refsTracker   = "tracker"
)

// bySearch reports whether nothing is followed, and memory searched for what holds a device
// that waits.
func (o *liveOptions) bySearch() bool { return o.refs == refsSearch || o.refs == refsTracker }

// refsOptions is how references are to be followed.
func (o *liveOptions) refsOptions(progress func(done, all int)) probe.RefsOptions {
	return probe.RefsOptions{
		Objects: uint32(o.objects), NoObjects: o.refs == refsSites || o.bySearch(), OneIn: o.sample.n(),
		Ledger: probe.LedgerOptions{
			Off: o.refs == refsFunctions || o.bySearch(), Required: o.refs == refsSites,
			Devices: o.devices, Device: o.device, Hot: o.hotSites, Jumps: o.jumps, Progress: progress,
		},
	}
}

// nsfsMagic is the file system that namespaces' inodes are of (linux/magic.h).
const nsfsMagic = 0x6e736673

// homeInode finds the namespace that --home names; 0 when there is none to find.
func (o *liveOptions) homeInode() (uint32, error) {
	if o.home == "" || o.home == homeAny {
		return 0, nil
	}
	inode, err := netnsInode(o.home)
	if err != nil {
		return 0, usageError{fmt.Errorf("--home: %w", err)}
	}
	return inode, nil
}

// netnsInode finds a namespace by its name for `ip netns`, its path or its number.
func netnsInode(which string) (uint32, error) {
	path := which
	if !strings.Contains(path, "/") {
		path = filepath.Join("/run/netns", which)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		if n, err := strconv.ParseUint(which, 10, 32); err == nil && n > 0 {
			return uint32(n), nil
		}
		return 0, fmt.Errorf("no network namespace %q: %s: %w", which, path, err)
	}
	if fs.Type != nsfsMagic {
		return 0, fmt.Errorf("%s is not a network namespace", path)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("looking at %s: %w", path, err)
	}
	return uint32(st.Ino), nil
}
