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
	root, err := lab.RepositoryRoot()
	if err != nil {
		return err
	}
	cache, err := lab.OpenCache(os.Stderr)
	if err != nil {
		return err
	}
	kernel, err := lab.FetchKernel(ctx, cache, name, lab.FlavourCloud)
	if err != nil {
		return err
	}
	files, err := build(ctx, cache, kernel, root)
	if err != nil {
		return err
	}
	fmt.Printf("booting Linux %s\n", kernel.Release)
	vm, err := lab.Boot(ctx, lab.Config{Cache: cache, Kernel: kernel, Files: files})
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
func build(ctx context.Context, cache lab.Cache, kernel lab.Kernel, root string) (map[string]string, error) {
	files := map[string]string{"/demo/demo.sh": filepath.Join(root, "test/demo/demo.sh")}
	tool, err := lab.BuildGo(ctx, cache, filepath.Join(root, "cmd/netns-trace"))
	if err != nil {
		return nil, err
	}
	files["/usr/local/bin/netns-trace"] = tool
	clone, err := lab.BuildC(ctx, cache, filepath.Join(root, "test/faults/setnsclone"))
	if err != nil {
		return nil, err
	}
	files["/usr/local/bin/setnsclone"] = filepath.Join(clone, "setnsclone")
	for _, name := range []string{"refleak", "dstfail", "dstcross"} {
		ko, err := lab.BuildModule(ctx, cache, kernel, filepath.Join(root, "test/faults", name))
		if err != nil {
			return nil, err
		}
		files["/faults/"+name+".ko"] = ko
	}
	return files, nil
}
