// SPDX-License-Identifier: Apache-2.0

// Empty attaches BPF programs that do nothing: what tracing costs before a program
// has done anything.
//
//	empty READY-FILE KIND:TARGET...
//
// It creates the file when all are attached, and stays until it is interrupted. The
// kinds are those of [attachments].
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	if err := run(os.Args[1:], stop); err != nil {
		fmt.Fprintln(os.Stderr, "empty:", err)
		os.Exit(1)
	}
}

func run(args []string, stop <-chan os.Signal) error {
	if len(args) < 2 {
		return errors.New("usage: empty READY-FILE PLACES, such as fentry:veth_xmit")
	}
	for _, place := range args[1:] {
		l, err := attach(place)
		if err != nil {
			return fmt.Errorf("attaching to %s: %w", place, err)
		}
		defer l.Close()
	}
	if err := os.WriteFile(args[0], nil, 0o644); err != nil {
		return fmt.Errorf("saying that all is attached: %w", err)
	}
	<-stop
	return nil
}

// attachments are the kinds: how the program is made, and attached.
var attachments = map[string]struct {
	program ebpf.ProgramSpec
	attach  func(target string, p *ebpf.Program) (io.Closer, error)
}{
	"fentry":     {ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry}, attachTracing},
	"fexit":      {ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFExit}, attachTracing},
	"tp_btf":     {ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp}, attachTracing},
	"raw_tp":     {ebpf.ProgramSpec{Type: ebpf.RawTracepoint}, attachRawTracepoint},
	"kprobe":     {ebpf.ProgramSpec{Type: ebpf.Kprobe}, attachKprobe},
	"kretprobe":  {ebpf.ProgramSpec{Type: ebpf.Kprobe}, attachKretprobe},
	"tracepoint": {ebpf.ProgramSpec{Type: ebpf.TracePoint}, attachTracepoint},
}

func attach(place string) (io.Closer, error) {
	kind, target, _ := strings.Cut(place, ":")
	how, ok := attachments[kind]
	if !ok {
		return nil, fmt.Errorf("there is no kind %q", kind)
	}
	spec := how.program.Copy()
	spec.License = "GPL"
	spec.Instructions = asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
	if spec.Type == ebpf.Tracing {
		spec.AttachTo = target
	}
	p, err := ebpf.NewProgram(spec)
	if err != nil {
		return nil, fmt.Errorf("loading the program: %w", err)
	}
	defer p.Close() // the link holds it
	return how.attach(target, p)
}

func attachTracing(_ string, p *ebpf.Program) (io.Closer, error) {
	return link.AttachTracing(link.TracingOptions{Program: p})
}

func attachRawTracepoint(target string, p *ebpf.Program) (io.Closer, error) {
	return link.AttachRawTracepoint(link.RawTracepointOptions{Name: target, Program: p})
}

// A place inside a function is FUNCTION+OFFSET.
func attachKprobe(target string, p *ebpf.Program) (io.Closer, error) {
	function, text, inside := strings.Cut(target, "+")
	var options link.KprobeOptions
	if inside {
		var err error
		if options.Offset, err = strconv.ParseUint(text, 0, 64); err != nil {
			return nil, fmt.Errorf("a place is FUNCTION+OFFSET: %w", err)
		}
	}
	return link.Kprobe(function, p, &options)
}

func attachKretprobe(target string, p *ebpf.Program) (io.Closer, error) {
	return link.Kretprobe(target, p, nil)
}

func attachTracepoint(target string, p *ebpf.Program) (io.Closer, error) {
	group, name, ok := strings.Cut(target, "/")
	if !ok {
		return nil, errors.New("a tracepoint is GROUP/NAME")
	}
	return link.Tracepoint(group, name, p, nil)
}
