// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/netns-trace/netns-trace/test/lab/agent"
)

// writeGuest writes the initramfs of a machine to file.
func writeGuest(ctx context.Context, c Config, file string) error {
	tree := newInitrd()
	init, err := buildGuest(ctx, c.Cache)
	if err != nil {
		return err
	}
	if err := tree.file("init", init); err != nil {
		return err
	}
	if c.Disk == "" { // a disk has its own
		userland, err := FetchUserland(ctx, c.Cache)
		if err != nil {
			return err
		}
		if err := tree.file("/", userland); err != nil {
			return err
		}
	}
	if err := tree.file("lib/modules/"+c.Kernel.Release, c.Kernel.ModulesDir()); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(c.Files)) {
		if err := tree.file(name, c.Files[name]); err != nil {
			return err
		}
	}
	boot, err := json.Marshal(bootConfig(c))
	if err != nil {
		return fmt.Errorf("writing the boot configuration: %w", err)
	}
	tree.bytes(agent.BootPath, boot)
	out, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("writing the initramfs: %w", err)
	}
	defer out.Close()
	if err := tree.write(out); err != nil {
		return err
	}
	return out.Close()
}

func bootConfig(c Config) agent.BootConfig {
	boot := agent.BootConfig{Modules: c.Modules}
	if c.Disk == "" {
		return boot
	}
	boot.RootDevice = "/dev/vda"
	// 5.10 and 6.1 have virtio as modules, later kernels built in.
	boot.Modules = append([]string{"virtio_pci", "virtio_blk"}, boot.Modules...)
	for _, name := range slices.Sorted(maps.Keys(c.Files)) {
		boot.Copy = append(boot.Copy, path.Clean("/"+name))
	}
	return boot
}

// buildGuest builds the guest's init and returns its path. The key in the cache is
// made of the sources, so that an unchanged guest costs no run of the compiler.
func buildGuest(ctx context.Context, cache Cache) (string, error) {
	root, err := RepositoryRoot()
	if err != nil {
		return "", err
	}
	sources := []string{filepath.Join(root, "go.sum")}
	for _, pkg := range []string{"guest", "agent", "modules"} {
		files, err := filepath.Glob(filepath.Join(root, "test/lab", pkg, "*.go"))
		if err != nil {
			return "", fmt.Errorf("building the guest: %w", err)
		}
		sources = append(sources, files...)
	}
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version())
	for _, file := range sources {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("building the guest: %w", err)
		}
		fmt.Fprintln(sum, filepath.Base(file), len(data))
		sum.Write(data)
	}
	dir := filepath.Join(cache.Dir, "guest", hex.EncodeToString(sum.Sum(nil)[:8]))
	err = cache.Publish(ctx, dir, func(tmp string) error {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w",
			"-o", filepath.Join(tmp, "init"), "./test/lab/guest")
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=")
		if _, err := cmd.Output(); err != nil {
			return fmt.Errorf("building the guest: %w", withStderr(err))
		}
		return nil
	})
	return filepath.Join(dir, "init"), err
}
