// SPDX-License-Identifier: Apache-2.0

// Demo boots a kernel, causes each bug that netns-trace looks for, and shows what
// netns-trace says of it, live.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/term"

	"github.com/netns-trace/netns-trace/test/lab"
)

func main() {
	kernel := flag.String("kernel", "6.12", "kernel to boot: one of the lab's matrix")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *kernel); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, name string) error {
	bench, err := lab.OpenWorkbench(ctx, name, os.Stderr)
	if err != nil {
		return err
	}
	files, err := build(ctx, bench)
	if err != nil {
		return err
	}
	fmt.Printf("booting Linux %s\n", bench.Kernel.Release)
	vm, err := bench.Boot(ctx, files)
	if err != nil {
		return err
	}
	defer vm.Close()
	color := "never"
	if term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == "" {
		color = "always"
	}
	code, err := vm.Run(ctx, lab.Command{
		Argv: []string{"sh", "/demo/demo.sh"}, Env: []string{"COLOR=" + color},
		Stdout: os.Stdout, Stderr: os.Stdout,
	})
	if err != nil {
		return err
	}
	if code != 0 {
		return errors.New("netns-trace did not find what it should have found")
	}
	return nil
}

// build makes what the guest needs: guest path to host path.
func build(ctx context.Context, bench lab.Workbench) (map[string]string, error) {
	path := filepath.Join(bench.Root, "test/demo/demo.sh")
	script, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the demo's script: %w", err)
	}
	files, err := bench.Files(ctx, func(guestPath string) bool { return strings.Contains(string(script), guestPath) })
	if err != nil {
		return nil, err
	}
	files["/demo/demo.sh"] = path
	return files, nil
}
