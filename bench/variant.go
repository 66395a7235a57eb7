// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/probe"
)

// Where the guest has what is put into it.
const (
	readyFile = "/run/bench-ready"
	binDir    = "/usr/local/bin/"
	peersDir  = "/opt/peers"
)

// Names of variants that others are compared with, or that promises are about.
const (
	emptyBest          = "empty fentry, fexit, tp_btf"
	emptyKprobe        = "empty kprobe, raw_tp"
	emptySyscall       = "empty tracepoint sys_enter_setns"
	everything         = "netns-trace"
	everythingSearch   = "netns-trace --refs search"
	csumKprobe         = "netns-trace --only csum --avoid fentry"
	histograms         = "ftrace kprobe + hist"
	bpftraceCsumFentry = "bpftrace fentry, transitions by device"
	bpftraceCsumKprobe = "bpftrace kprobe, transitions by device"
	bpftraceClone      = "bpftrace rawtracepoint, clone check"
	ledgerJumps        = "netns-trace --only refs --jump-sites"
	emptySites         = "empty kprobes at the reference's two places"
	bpftraceSites      = "bpftrace kprobes there, counting by device"
)

// only is the variant with one detector.
func only(detector string) string { return "netns-trace --only " + detector }

// variant is one way to trace.
type variant struct {
	name string
	// argv creates readyFile when everything is attached, and ends when interrupted.
	argv []string
	// on names the workloads that it is measured on; empty means all.
	on []string
	// floor is the variant that attaches empty programs in the same way.
	floor string
	// ours is netns-trace: it must find nothing, and leave nothing behind.
	ours bool
	// peer needs the programs of [fetchPeers].
	peer bool
}

// The functions and tracepoints that the detectors attach to and the workloads hit.
var (
	bestPlaces = []string{
		"fentry:veth_xmit", "fentry:__dev_forward_skb",
		"tp_btf:task_newtask", "tp_btf:sched_process_exit", "fentry:switch_task_namespaces",
		"fexit:dst_alloc", "fentry:dst_destroy",
		"fentry:call_netdevice_notifiers_info", "fentry:free_netdev",
	}
	kprobePlaces = []string{
		"kprobe:veth_xmit", "kprobe:__dev_forward_skb",
		"raw_tp:task_newtask", "raw_tp:sched_process_exit", "kprobe:switch_task_namespaces",
		"kprobe:dst_alloc", "kretprobe:dst_alloc", "kprobe:dst_destroy",
		"kprobe:call_netdevice_notifiers_info", "kprobe:free_netdev",
	}
)

// variants lists what is measured: the floor, each detector that this netns-trace
// has, all of them, and what else could do the job.
func variants() []variant {
	// Those on all workloads first: what is measured after one is the before of the next.
	list := []variant{{name: emptyBest, argv: empty(bestPlaces)}}
	for _, detector := range probe.Detectors() {
		list = append(list, tracing(only(detector), "--only", detector))
	}
	jumps := tracing(ledgerJumps, "--only", probe.DetectorRefs, "--jump-sites")
	jumps.on, jumps.floor = []string{"reference"}, emptySites
	kprobes := tracing(csumKprobe, "--only", probe.DetectorCsum, "--avoid", string(probe.Fentry))
	kprobes.on, kprobes.floor = []string{"udp"}, emptyKprobe
	search := tracing(everythingSearch, "--refs", "search")
	search.on = []string{"life", "idle"}
	return append(list,
		search,
		tracing(everything),
		variant{name: emptyKprobe, argv: empty(kprobePlaces), on: []string{"udp", "clone", "setns", "dst"}},
		variant{name: emptySites, argv: atSites(binDir + `empty ` + readyFile + ` $(for p in $places; do echo kprobe:$p; done)`), on: []string{"reference"}},
		sitesBpftrace(),
		jumps,
		variant{name: emptySyscall, argv: empty([]string{"tracepoint:syscalls/sys_enter_setns"}), on: []string{"getppid", "setns"}},
		bpftrace(bpftraceClone, bpftraceNewtask, "clone"),
		kprobes,
		variant{name: histograms, argv: []string{binDir + "hist", readyFile}, on: []string{"udp"}},
		bpftrace(bpftraceCsumFentry, bpftraceFentry, "udp"),
		bpftrace(bpftraceCsumKprobe, bpftraceKprobe, "udp"),
		bpftrace("bpftrace fentry, rewrites only", bpftraceRewrites, "udp"),
		variant{name: "perf record of one kprobe", argv: []string{"sh", "-ec", perfRecord}, on: []string{"udp"}, peer: true},
	)
}

// shortVariants are those of -short.
var shortVariants = []string{emptyBest, only(probe.DetectorCsum), only(probe.DetectorThreads), everything}

// atSites runs a shell's command that has the loads before the two places of the
// workload reference in $places, as FUNCTION+OFFSET: there netns-trace --jump-sites has
// its probes too, and the kernel replaces them by jumps. $register has the device there.
func atSites(command string) []string {
	find := `sites=$(` + binDir + `netns-trace doctor --sites | grep 'refpairs_one.* at the load, ')
places=$(echo "$sites" | sed 's/.*at the load, /refpairs_one/')
register=$(echo "$sites" | sed -n '1s/.*device in r\([a-ds][a-z]\|[0-9]*\) at.*/\1/p')
test $(echo "$places" | wc -l) = 2
exec `
	return []string{"sh", "-ec", find + command}
}

// sitesBpftrace counts what goes through the two places by device: what somebody would
// do who knew the places.
func sitesBpftrace() variant {
	program := `$(for p in $places; do echo "kprobe:$p { @[reg(\"$register\")] = count(); }"; done)`
	command := strings.Join(peer("bpftrace", "-e", `"`+program+`"`, "-c", `"`+binDir+`ops hold `+readyFile+`"`), " ")
	return variant{name: bpftraceSites, argv: atSites(command), on: []string{"reference"}, peer: true}
}

func empty(places []string) []string {
	return slices.Concat([]string{binDir + "empty", readyFile}, places)
}

func tracing(name string, flags ...string) variant {
	argv := append([]string{binDir + "netns-trace", "--quiet", "--ready-file", readyFile}, flags...)
	return variant{name: name, argv: argv, floor: emptyBest, ours: true}
}

// measures reports whether the variant is measured on a workload.
func (v variant) measures(workload string) bool {
	return len(v.on) == 0 || slices.Contains(v.on, workload)
}
