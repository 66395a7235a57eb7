// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/netns-trace/netns-trace/test/lab"
)

// Other tools that can do a detector's job, as Debian has them. They need a newer C
// library than the guest has, so they bring their own and its loader.
const (
	peersSuite  = "trixie"
	peersLoader = "ld-linux-x86-64.so.2"
	libDir      = "usr/lib/x86_64-linux-gnu"
)

var (
	peersPackages = []string{"bpftrace", "linux-perf"}
	peersPrograms = []string{"bpftrace", "perf"}
)

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
	return append([]string{peersDir + "/lib/" + peersLoader, "--library-path", peersDir + "/lib", peersDir + "/bin/" + program}, args...)
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

// fetchPeers returns a directory with bin/ and lib/: the programs, and all the
// libraries that they load.
func fetchPeers(ctx context.Context, cache lab.Cache) (dir string, err error) {
	sum := sha256.Sum256([]byte(fmt.Sprint("1", peersSuite, peersPackages, peersPrograms)))
	dir = filepath.Join(cache.Dir, "programs", "peers-"+hex.EncodeToString(sum[:6]))
	err = cache.Publish(ctx, dir, func(tmp string) error {
		if cache.Progress != nil {
			fmt.Fprintf(cache.Progress, "fetching %s from %s\n", strings.Join(peersPackages, ", "), peersSuite)
		}
		apt, err := lab.OpenApt(ctx, cache.Dir, peersSuite)
		if err != nil {
			return err
		}
		debs, err := apt.DownloadWithDepends(ctx, peersPackages...)
		if err != nil {
			return err
		}
		root, err := os.MkdirTemp(cache.Dir, ".peers-*")
		if err != nil {
			return err
		}
		defer os.RemoveAll(root)
		if err := apt.Unpack(ctx, debs, root); err != nil {
			return err
		}
		return layOutPeers(ctx, root, tmp)
	})
	if err != nil {
		return "", fmt.Errorf("fetching what netns-trace is compared with: %w", err)
	}
	return dir, nil
}

// layOutPeers copies the programs of an unpacked tree, and their libraries, to dir.
func layOutPeers(ctx context.Context, root, dir string) error {
	loader := filepath.Join(root, libDir, peersLoader)
	files := map[string]string{filepath.Join("lib", peersLoader): loader}
	for _, name := range peersPrograms {
		program := filepath.Join(root, "usr/bin", name)
		files[filepath.Join("bin", name)] = program
		// The loader itself says what it would load, a line each: NAME => PATH (ADDRESS).
		out, err := exec.CommandContext(ctx, loader, "--library-path", filepath.Join(root, libDir), "--list", program).Output()
		if err != nil {
			return fmt.Errorf("listing the libraries of %s: %w", name, err)
		}
		for line := range strings.Lines(string(out)) {
			if library, path, ok := strings.Cut(line, " => "); ok {
				path, _, _ = strings.Cut(path, " (")
				files[filepath.Join("lib", strings.TrimSpace(library))] = strings.TrimSpace(path)
			}
		}
	}
	for name, from := range files {
		if err := copyProgram(filepath.Join(dir, name), from); err != nil {
			return err
		}
	}
	return nil
}

func copyProgram(to, from string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return fmt.Errorf("copying %s: %w", from, err)
	}
	return out.Close()
}
