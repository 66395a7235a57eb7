// SPDX-License-Identifier: Apache-2.0

// Textprobes puts a counting program on every reference site of the running kernel,
// as netns-trace would, and takes it off. It is for guests.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/rlimit"

	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/refsite"
	"github.com/netns-trace/netns-trace/pkg/textprobe"
)

type options struct {
	noTracefs bool
	atLoads   bool
	size      int
	repeat    int
}

func main() {
	var o options
	flag.BoolVar(&o.noTracefs, "no-tracefs", false, "perf events only")
	flag.BoolVar(&o.atLoads, "loads", false, "probe the load before a site where there is one")
	flag.IntVar(&o.size, "stage", 100, "addresses a stage")
	flag.IntVar(&o.repeat, "repeat", 1, "scan and attach as often as this")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "textprobes:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if err := rlimit.RemoveMemlock(); err != nil {
		return err
	}
	began := time.Now()
	targets, err := scan(ctx, o)
	if err != nil {
		return err
	}
	said(began, "scanned sites=%d", len(targets))
	counts, prog, err := counter(targets)
	if err != nil {
		return err
	}
	for range o.repeat {
		if err := probe(ctx, o, targets, prog); err != nil {
			return err
		}
	}
	tell(counts)
	return nil
}

func probe(ctx context.Context, o options, targets []textprobe.Target, prog *ebpf.Program) error {
	began := time.Now()
	set, err := textprobe.Open(prog, textprobe.Options{NoTracefs: o.noTracefs})
	if err != nil {
		return err
	}
	said(began, "opened way=%q", set.Way())
	if err := set.WhyNotTracefs(); err != nil {
		said(began, "not tracefs: %v", err)
	}
	all := time.Now()
	for first := 0; first < len(targets); first += o.size {
		began := time.Now()
		stage := targets[first:min(first+o.size, len(targets))]
		refused, err := set.Attach(ctx, stage)
		if err != nil {
			said(began, "stopped: %v", err)
			break
		}
		for _, r := range refused {
			fmt.Printf("refused addr=%#x module=%s: %v\n", r.Addr, r.Module, r.Reason)
		}
		said(began, "stage targets=%d", len(stage))
	}
	c := set.Counts()
	said(all, "ready attached=%d refused=%d stages=%d", c.Attached, c.Refused, c.Stages)
	if o.repeat == 1 {
		<-ctx.Done()
	}
	began = time.Now()
	err = set.Close()
	said(began, "off")
	return err
}

func scan(ctx context.Context, o options) ([]textprobe.Target, error) {
	symbols, err := kernel.LoadSymbols()
	if err != nil {
		return nil, err
	}
	sites, err := refsite.Running(ctx, symbols, kernel.NewTypes())
	if err != nil {
		return nil, err
	}
	var targets []textprobe.Target
	for _, s := range sites {
		if s.Refused != "" {
			fmt.Printf("skipped %s+%#x module=%s: %s\n", s.Symbol, s.Offset, s.Module, s.Refused)
			continue
		}
		addr := s.Addr
		if o.atLoads && s.LoadAddr != 0 {
			addr = s.LoadAddr
		}
		targets = append(targets, textprobe.Target{Addr: addr, Module: s.Module})
	}
	return targets, nil
}

// counter is a program that counts its hits by address, and its map.
func counter(targets []textprobe.Target) (*ebpf.Map, *ebpf.Program, error) {
	counts, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "hits", Type: ebpf.Hash, KeySize: 8, ValueSize: 8, MaxEntries: uint32(len(targets) + 1),
	})
	if err != nil {
		return nil, nil, err
	}
	for _, t := range targets {
		if err := counts.Put(t.Addr, uint64(0)); err != nil {
			return nil, nil, err
		}
	}
	const ip = 16 * 8 // in struct pt_regs of x86-64
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "count_hits", Type: ebpf.Kprobe, License: "GPL",
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, ip, asm.DWord),
			asm.Sub.Imm(asm.R2, 1),
			asm.StoreMem(asm.RFP, -8, asm.R2, asm.DWord),
			asm.LoadMapPtr(asm.R1, counts.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -8),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.Mov.Imm(asm.R1, 1),
			asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
			asm.Return(),
		},
	})
	return counts, prog, err
}

func tell(counts *ebpf.Map) {
	var addr, n, hits uint64
	var places int
	for it := counts.Iterate(); it.Next(&addr, &n); {
		if n > 0 {
			places++
			hits += n
		}
	}
	fmt.Printf("hits=%d places=%d\n", hits, places)
}

// said prints a line with how long it took.
func said(began time.Time, format string, args ...any) {
	fmt.Printf("%s ms=%d\n", fmt.Sprintf(format, args...), time.Since(began).Milliseconds())
}
