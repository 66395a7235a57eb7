// SPDX-License-Identifier: Apache-2.0

// Hist does the csum detector's job with what the kernel has by itself: two kprobe
// events of ftrace, each with a histogram of the packets' checksum state by device.
//
//	hist READY-FILE
//
// It creates the file when the histograms count, and stays until it is interrupted.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/cilium/ebpf/btf"
)

const (
	tracefs = "/sys/kernel/tracing"
	group   = "netns_trace_bench"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	if err := run(os.Args[1:], stop); err != nil {
		fmt.Fprintln(os.Stderr, "hist:", err)
		os.Exit(1)
	}
}

func run(args []string, stop <-chan os.Signal) (err error) {
	if len(args) != 1 {
		return errors.New("usage: hist READY-FILE")
	}
	summed, err := summedArgument()
	if err != nil {
		return err
	}
	if err := mountTracefs(); err != nil {
		return err
	}
	for _, p := range []struct{ name, function, skb, dev string }{
		{"xmit", "veth_xmit", "$arg1", "$arg2"},
		{"forward", "__dev_forward_skb", "$arg2", "$arg1"},
	} {
		event := group + "/" + p.name
		definition := fmt.Sprintf("p:%s %s summed="+summed+" dev=%s:u64", event, p.function, p.skb, p.dev)
		if err := appendTo("kprobe_events", definition); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, appendTo("kprobe_events", "-:"+event)) }()
		trigger := "events/" + event + "/trigger"
		if err := appendTo(trigger, "hist:keys=dev,summed"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, appendTo(trigger, "!hist:keys=dev,summed")) }()
	}
	if err := os.WriteFile(args[0], nil, 0o644); err != nil {
		return fmt.Errorf("saying that all is attached: %w", err)
	}
	<-stop
	return nil
}

func mountTracefs() error {
	err := syscall.Mount("tracefs", tracefs, "tracefs", 0, "")
	if err != nil && !errors.Is(err, syscall.EBUSY) {
		return fmt.Errorf("mounting tracefs: %w", err)
	}
	return nil
}

func appendTo(name, line string) error {
	f, err := os.OpenFile(filepath.Join(tracefs, name), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("writing to tracefs: %w", err)
	}
	defer f.Close()
	if _, err := f.WriteString(line + "\n"); err != nil {
		return fmt.Errorf("writing %q to %s: %w", line, name, err)
	}
	return nil
}

// summedArgument is how a kprobe event reads ip_summed of the skb that %s stands for.
func summedArgument() (string, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return "", fmt.Errorf("loading kernel BTF: %w", err)
	}
	var skb *btf.Struct
	if err := spec.TypeByName("sk_buff", &skb); err != nil {
		return "", fmt.Errorf("looking up sk_buff in BTF: %w", err)
	}
	at, width, ok := findBits(skb.Members, "ip_summed")
	if !ok {
		return "", errors.New("the kernel's sk_buff has no ip_summed")
	}
	return fmt.Sprintf("+%d(%%s):b%d@%d/8", at/8, width, at%8), nil
}

// findBits finds a field, also in unnamed members, and its place in bits.
func findBits(members []btf.Member, name string) (at, width btf.Bits, ok bool) {
	for _, m := range members {
		if m.Name == name {
			return m.Offset, m.BitfieldSize, true
		}
		if m.Name != "" {
			continue
		}
		var inner []btf.Member
		switch t := m.Type.(type) {
		case *btf.Struct:
			inner = t.Members
		case *btf.Union:
			inner = t.Members
		}
		if at, width, ok := findBits(inner, name); ok {
			return m.Offset + at, width, true
		}
	}
	return 0, 0, false
}
