// SPDX-License-Identifier: Apache-2.0

// Recordings makes the recordings in this folder: on each kernel, every bug in turn.
// They are what a release wrote; every later version must read them, so one is added
// for a new version of the format and none is ever made anew.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/netns-trace/netns-trace/test/lab"
)

func main() {
	kernels := flag.String("kernels", "5.10,6.1,6.12,newest", "kernels to boot: of the lab's matrix")
	into := flag.String("into", "", "the directory to write to, such as test/recordings")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	for kernel := range strings.SplitSeq(*kernels, ",") {
		if err := run(ctx, kernel, *into); err != nil {
			fmt.Fprintf(os.Stderr, "recordings: %s: %v\n", kernel, err)
			os.Exit(1)
		}
	}
}

func run(ctx context.Context, name, into string) error {
	bench, err := lab.OpenWorkbench(ctx, name, os.Stderr)
	if err != nil {
		return err
	}
	path := filepath.Join(bench.Root, "test/recordings/record.sh")
	script, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the guest's script: %w", err)
	}
	files, err := bench.Files(ctx, func(guestPath string) bool { return bytes.Contains(script, []byte(guestPath)) })
	if err != nil {
		return err
	}
	files["/recordings/record.sh"] = path
	vm, err := bench.Boot(ctx, files)
	if err != nil {
		return err
	}
	defer vm.Close()
	var recording bytes.Buffer
	code, err := vm.Run(ctx, lab.Command{Argv: []string{"sh", "/recordings/record.sh"}, Stdout: &recording, Stderr: os.Stderr})
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("the guest's script ended with status %d", code)
	}
	out := filepath.Join(into, name+".ntrace")
	if err := os.WriteFile(out, recording.Bytes(), 0o644); err != nil {
		return fmt.Errorf("keeping the recording: %w", err)
	}
	fmt.Printf("%s: %d bytes, Linux %s\n", out, recording.Len(), bench.Kernel.Release)
	return nil
}
