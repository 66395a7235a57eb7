// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// headersVersion is part of the place of unpacked headers in the cache: a change of
// what is done to them makes new directories.
const headersVersion = "1"

// A headersTree is what a kernel's modules are built against: Debian's headers and
// kbuild packages, unpacked privately.
type headersTree struct {
	root    string
	release string
}

// makeDir is the directory to run make in.
func (t headersTree) makeDir() string {
	return filepath.Join(t.root, "usr/src", "linux-headers-"+t.release)
}

// fetchHeaders returns the headers of a kernel, from the suite that it came from.
func fetchHeaders(ctx context.Context, cache Cache, kernel Kernel) (headersTree, error) {
	tree := headersTree{
		root:    filepath.Join(cache.Dir, "headers", kernel.Release+"_"+kernel.Version+"_"+headersVersion),
		release: kernel.Release,
	}
	err := cache.Publish(ctx, tree.root, func(tmp string) error {
		cache.progressf("kernel %s: downloading the headers of %s", kernel, kernel.Release)
		apt, err := openHeadersApt(ctx, cache, kernel)
		if err != nil {
			return err
		}
		packages, kbuild, err := headersPackages(ctx, apt, kernel)
		if err != nil {
			return err
		}
		debs, err := apt.Download(ctx, packages...)
		if err != nil {
			return err
		}
		if err := apt.Unpack(ctx, debs, tmp); err != nil {
			return err
		}
		if err := relocateHeaders(tmp, tree); err != nil {
			return err
		}
		return wrapNewerTools(ctx, apt, kbuild, tmp, tree.root)
	})
	if err != nil {
		return headersTree{}, fmt.Errorf("fetching the headers of kernel %s: %w", kernel.Release, err)
	}
	return tree, nil
}

// openHeadersApt opens the kernel's suite, with the one below it when it is a
// backports suite: the libraries of kbuild's tools are there.
func openHeadersApt(ctx context.Context, cache Cache, kernel Kernel) (*Apt, error) {
	if base, ok := strings.CutSuffix(kernel.Suite, "-backports"); ok {
		return OpenApt(ctx, cache.Dir, base, kernel.Suite)
	}
	return OpenApt(ctx, cache.Dir, kernel.Suite)
}

// headersPackages names the packages to unpack, and which of them has kbuild's tools.
func headersPackages(ctx context.Context, apt *Apt, kernel Kernel) (packages []string, kbuild string, err error) {
	headers := "linux-headers-" + kernel.Release
	_, depends, err := apt.Resolve(ctx, headers)
	if errors.Is(err, ErrNoPackage) {
		return nil, "", fmt.Errorf("the archive has moved on to a newer build, fetch the kernel again with a refresh: %w", err)
	}
	if err != nil {
		return nil, "", err
	}
	packages = []string{headers}
	for _, name := range depends {
		switch {
		case strings.HasPrefix(name, "linux-headers-"):
			packages = append(packages, name)
		case strings.HasPrefix(name, "linux-kbuild-"):
			packages = append(packages, name)
			kbuild = name
		}
	}
	if kbuild == "" {
		return nil, "", fmt.Errorf("%s depends on no linux-kbuild package", headers)
	}
	return packages, kbuild, nil
}

// relocateHeaders makes the unpacked Makefile include its other half from where
// both will lie: Debian's names /usr/src.
func relocateHeaders(unpacked string, tree headersTree) error {
	final, err := filepath.Rel(tree.root, tree.makeDir())
	if err != nil {
		return err
	}
	path := filepath.Join(unpacked, final, "Makefile")
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("relocating the headers: %w", err)
	}
	const installed = "/usr/src/"
	if !strings.Contains(string(text), installed) {
		return fmt.Errorf("relocating the headers: %s names no %s; its form has changed", path, installed)
	}
	moved := strings.ReplaceAll(string(text), installed, filepath.Join(tree.root, installed)+"/")
	if err := os.WriteFile(path, []byte(moved), 0o644); err != nil {
		return fmt.Errorf("relocating the headers: %w", err)
	}
	return nil
}
