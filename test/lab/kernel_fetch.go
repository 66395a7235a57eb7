// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/netns-trace/netns-trace/test/lab/modules"
)

// slimVersion is part of a kernel's place in the cache: a change of what is kept
// makes new directories.
const slimVersion = "1"

func kernelDir(cache Cache, k Kernel) string {
	return filepath.Join(cache.Dir, "kernels", k.Release+"_"+k.Version+"_"+slimVersion)
}

// fetch resolves the meta package, and downloads, unpacks and slims what it stands
// for unless the cache has it. It fills in k.
func (k *Kernel) fetch(ctx context.Context, cache Cache, meta string) error {
	maxAge := aptFresh
	if cache.Refresh {
		maxAge = 0
	}
	apt, err := openApt(ctx, cache.Dir, maxAge, []string{k.Suite})
	if err != nil {
		return err
	}
	packages, err := k.resolve(ctx, apt, meta)
	if err != nil {
		return err
	}
	k.Dir = kernelDir(cache, *k)
	return cache.Publish(ctx, k.Dir, func(tmp string) error {
		cache.progressf("kernel %s: downloading %s %s from %s", k, k.Release, k.Version, k.Suite)
		debs, err := apt.Download(ctx, packages...)
		if err != nil {
			return err
		}
		unpacked := filepath.Join(tmp, "unpacked")
		if err := apt.Unpack(ctx, debs, unpacked); err != nil {
			return err
		}
		if err := k.slim(ctx, unpacked, tmp); err != nil {
			return err
		}
		for _, deb := range debs { // up to 170 MB, and never needed again
			if err := os.Remove(deb); err != nil {
				return fmt.Errorf("cleaning up: %w", err)
			}
		}
		return os.RemoveAll(unpacked)
	})
}

// kernelPart matches the packages that make up a kernel. Up to 6.x it is one,
// linux-image-V; from 7.x the files are in linux-binary-V, linux-modules-V and
// linux-base-V. Metas on the way, such as linux-modules-cloud-amd64, match without
// a version. linux-base, with no suffix, is a package of scripts.
var kernelPart = regexp.MustCompile(`^linux-(image|binary|modules|base)-(\d\S*)?`)

// resolve follows the meta package to the packages that hold files, and learns
// release and version.
func (k *Kernel) resolve(ctx context.Context, apt *Apt, meta string) (packages []string, err error) {
	seen := map[string]bool{}
	todo := []string{meta}
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		m := kernelPart.FindStringSubmatch(name)
		if m == nil || seen[name] {
			continue
		}
		seen[name] = true
		version, depends, err := apt.Resolve(ctx, name)
		if err != nil {
			return nil, err
		}
		todo = append(todo, depends...)
		if m[2] == "" || name == meta {
			continue
		}
		packages = append(packages, name)
		if m[1] == "image" {
			k.Release, k.Version = m[2], version
		}
	}
	if k.Release == "" {
		return nil, fmt.Errorf("%s depends on no linux-image package", meta)
	}
	return sortedUnique(packages), nil
}

// slim moves the kernel image and the modules worth keeping from an unpacked tree
// into dir.
func (k *Kernel) slim(ctx context.Context, unpacked, dir string) error {
	image, err := firstThatExists(unpacked, "boot/vmlinuz-"+k.Release, "usr/lib/modules/"+k.Release+"/vmlinuz")
	if err != nil {
		return err
	}
	if err := os.Rename(image, filepath.Join(dir, "vmlinuz")); err != nil {
		return fmt.Errorf("keeping the kernel image: %w", err)
	}
	from, err := firstThatExists(unpacked, "lib/modules/"+k.Release+"/kernel", "usr/lib/modules/"+k.Release+"/kernel")
	if err != nil {
		return err
	}
	to := filepath.Join(dir, "modules")
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	if err := os.Rename(from, filepath.Join(to, "kernel")); err != nil {
		return fmt.Errorf("keeping the modules: %w", err)
	}
	// From 7.x modules.builtin is beside them only after all parts are unpacked.
	builtin := filepath.Join(filepath.Dir(from), "modules.builtin")
	if err := os.Rename(builtin, filepath.Join(to, "modules.builtin")); err != nil {
		return fmt.Errorf("keeping the modules: %w", err)
	}
	return slimModules(ctx, to)
}

func firstThatExists(root string, names ...string) (string, error) {
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(root, name)); err == nil {
			return filepath.Join(root, name), nil
		}
	}
	return "", fmt.Errorf("the packages have none of %s", strings.Join(names, ", "))
}

// slimModules decompresses all modules below dir, drops those that the lab has no
// use for and writes the table of the rest.
func slimModules(ctx context.Context, dir string) error {
	if err := decompress(ctx, dir, ".ko.xz", "xz"); err != nil {
		return err
	}
	if err := decompress(ctx, dir, ".ko.zst", "zstd"); err != nil {
		return err
	}
	table, err := modules.Scan(dir)
	if err != nil {
		return err
	}
	for _, file := range table.Keep(keepModule) {
		if err := os.Remove(filepath.Join(dir, file)); err != nil {
			return fmt.Errorf("slimming the modules: %w", err)
		}
	}
	if err := removeEmptyDirs(dir); err != nil {
		return fmt.Errorf("slimming the modules: %w", err)
	}
	if len(table.Names()) == 0 {
		return errors.New("the packages have no modules")
	}
	return table.Write(dir)
}

// decompress replaces the files of that suffix below dir by what they hold, with
// few runs of the program: starting one for each of a thousand modules is slow.
func decompress(ctx context.Context, dir, suffix, program string) error {
	var files []string
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, suffix) {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("decompressing modules: %w", err)
	}
	const batch = 500
	for len(files) > 0 {
		n := min(batch, len(files))
		args := append([]string{"-d", "-q", "-f", "--"}, files[:n]...)
		if program == "zstd" {
			args = append([]string{"--rm"}, args...)
		}
		if _, err := exec.CommandContext(ctx, program, args...).Output(); err != nil {
			return fmt.Errorf("decompressing modules with %s: %w", program, withStderr(err))
		}
		files = files[n:]
	}
	return nil
}

// removeEmptyDirs removes the directories below dir that hold no file.
func removeEmptyDirs(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		sub := filepath.Join(dir, entry.Name())
		if err := removeEmptyDirs(sub); err != nil {
			return err
		}
		rest, err := os.ReadDir(sub)
		if err != nil {
			return err
		}
		if len(rest) == 0 {
			if err := os.Remove(sub); err != nil {
				return err
			}
		}
	}
	return nil
}
