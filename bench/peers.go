// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/netns-trace/netns-trace/test/lab"
)

// Other tools that can do a detector's job, as Debian has them. They need a newer C
// library than the guest has.
func peers() lab.Portable {
	return lab.Portable{
		Name:     "peers",
		Suite:    "trixie",
		Packages: []string{"bpftrace", "linux-perf"},
		Programs: []string{"bpftrace", "perf"},
	}
}

// Three ways to do the csum detector's job. Per packet, the first two count by device
// and transition, which is what a user of bpftrace needs to see any; the third like
// the detector only counts a rewrite, and so would print nothing on a healthy host.
const (
	bpftraceFentry = `
fentry:veth:veth_xmit { @skb[cpu] = (uint64)args.skb; @was[cpu] = args.skb->ip_summed; }
fentry:vmlinux:__dev_forward_skb {
	if (@skb[cpu] == (uint64)args.skb) {
		@packets[(uint64)args.dev, @was[cpu], args.skb->ip_summed] = count();
	}
}`
	bpftraceKprobe = `
kprobe:veth_xmit { @skb[cpu] = arg0; @was[cpu] = ((struct sk_buff *)arg0)->ip_summed; }
kprobe:__dev_forward_skb {
	if (@skb[cpu] == arg1) {
		@packets[arg0, @was[cpu], ((struct sk_buff *)arg1)->ip_summed] = count();
	}
}`
	bpftraceRewrites = `
fentry:veth:veth_xmit { @skb[cpu] = (uint64)args.skb; @none[cpu] = args.skb->ip_summed == 0; }
fentry:vmlinux:__dev_forward_skb {
	if (@skb[cpu] == (uint64)args.skb && @none[cpu] && args.skb->ip_summed == 1) {
		@rewrites[(uint64)args.dev] = count();
	}
}`
	bpftraceNewtask = `
rawtracepoint:task_newtask {
	$t = (struct task_struct *)arg0;
	if ($t->nsproxy->net_ns != $t->group_leader->nsproxy->net_ns) { @[$t->tgid] = count(); }
}`
)

// peer is a command line with a program of the peers.
func peer(program string, args ...string) []string {
	return lab.PortableCommand(peersDir, program, args...)
}

func bpftrace(name, program string, on ...string) variant {
	// It starts the command when all is attached.
	return variant{name: name, argv: peer("bpftrace", "-e", program, "-c", binDir+"ops hold "+readyFile), on: on, peer: true}
}

// perfRecord records one kprobe event, of all processors, into a file.
var perfRecord = `
[ -e /sys/kernel/tracing/kprobe_events ] || mount -t tracefs tracefs /sys/kernel/tracing
echo p:netns_trace_bench/perf veth_xmit >>/sys/kernel/tracing/kprobe_events
trap : INT
` + strings.Join(peer("perf", "record", "-q", "-a", "-e", "netns_trace_bench:perf", "-o", "/run/bench-perf.data",
	"--", binDir+"ops", "hold", readyFile), " ") + ` || true
rm -f /run/bench-perf.data
echo -:netns_trace_bench/perf >>/sys/kernel/tracing/kprobe_events
`
