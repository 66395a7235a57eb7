// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// BuildModule builds the kernel module whose source and kbuild Makefile lie in
// srcDir for one kernel, with this host's gcc, and returns the path of the .ko file.
// The kernel's headers are fetched when they are not in the cache. A module that was
// built before from the same sources is returned at once and needs no network.
func BuildModule(ctx context.Context, cache Cache, kernel Kernel, srcDir string) (koPath string, err error) {
	sources, err := readSources(srcDir)
	if err != nil {
		return "", err
	}
	name := filepath.Base(sources.dir)
	dir := filepath.Join(cache.Dir, "modules", kernel.Release+"_"+kernel.Version, name+"-"+sources.hash())
	err = cache.Publish(ctx, dir, func(tmp string) error {
		headers, err := fetchHeaders(ctx, cache, kernel)
		if err != nil {
			return err
		}
		cache.progressf("kernel %s: building module %s", kernel, name)
		return buildModule(ctx, headers, sources, tmp)
	})
	if err != nil {
		return "", fmt.Errorf("building module %s for kernel %s: %w", name, kernel.Release, err)
	}
	return onlyModule(dir)
}

// buildModule runs kbuild in a folder of its own and leaves the .ko in dst.
func buildModule(ctx context.Context, headers headersTree, sources sourceTree, dst string) error {
	work := filepath.Join(dst, "build")
	if err := sources.copyTo(work); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "make", "-C", headers.makeDir(), "M="+work,
		// Debian's headers name the compiler of their suite, such as gcc-14.
		"CC=gcc",
		// Needs a vmlinux, or a pahole as new as the kernel's.
		"CONFIG_DEBUG_INFO_BTF_MODULES=",
		// Says that the compiler knows -fmin-function-alignment, which gcc
		// before 14 does not.
		"CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=",
		"modules")
	if err := runBuild(cmd); err != nil {
		return err
	}
	ko, err := onlyModule(work)
	if err != nil {
		return err
	}
	if err := os.Rename(ko, filepath.Join(dst, filepath.Base(ko))); err != nil {
		return err
	}
	return os.RemoveAll(work)
}

func onlyModule(dir string) (string, error) {
	found, err := filepath.Glob(filepath.Join(dir, "*.ko"))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("expected one .ko file in %s, found %d", dir, len(found))
	}
	return found[0], nil
}
