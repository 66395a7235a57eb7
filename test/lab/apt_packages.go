// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Resolve returns the version that apt would install of a package and the names of
// the packages that it depends on, of alternatives the first. The error is
// [ErrNoPackage] when no suite has it.
func (a *Apt) Resolve(ctx context.Context, pkg string) (version string, depends []string, err error) {
	unlock, err := a.lock(ctx)
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	out, err := a.run(ctx, "apt-cache", "show", "--no-all-versions", pkg)
	if err != nil {
		if strings.Contains(err.Error(), "No packages found") {
			err = ErrNoPackage
		}
		if a.missing != nil {
			err = fmt.Errorf("%w (and not every suite could be had: %w)", err, a.missing)
		}
		return "", nil, fmt.Errorf("resolving %s: %w", pkg, err)
	}
	version, depends = parsePackageRecord(out)
	if version == "" {
		return "", nil, fmt.Errorf("resolving %s: %w", pkg, ErrNoPackage)
	}
	return version, depends, nil
}

// parsePackageRecord reads the version and the dependencies of the first record of
// a Packages file.
func parsePackageRecord(text string) (version string, depends []string) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "Version":
			version = strings.TrimSpace(value)
		case "Depends", "Pre-Depends":
			for _, item := range strings.Split(value, ",") {
				first, _, _ := strings.Cut(item, "|")
				fields := strings.FieldsFunc(first, func(r rune) bool { return r == ' ' || r == '(' || r == ':' })
				if len(fields) > 0 {
					depends = append(depends, fields[0])
				}
			}
		}
	}
	return version, sortedUnique(depends)
}

// Download fetches exactly these packages and returns the paths of their .deb
// files in the same order. Files fetched before are used again.
func (a *Apt) Download(ctx context.Context, pkgs ...string) ([]string, error) {
	unlock, err := a.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	// apt-get download writes to its working directory and prints nothing that
	// names the file, so each package gets a directory of its own.
	var debs []string
	for _, pkg := range pkgs {
		deb, err := a.downloadOne(ctx, pkg)
		if err != nil {
			return nil, fmt.Errorf("downloading %s: %w", pkg, err)
		}
		debs = append(debs, deb)
	}
	return debs, nil
}

func (a *Apt) downloadOne(ctx context.Context, pkg string) (string, error) {
	dir := a.path("debs", pkg)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	out, err := a.runIn(ctx, dir, "apt-get", "-qq", "--print-uris", "download", pkg)
	if err != nil {
		return "", err
	}
	// 'URI' FILE SIZE HASH, and nothing when the file is there already.
	if fields := strings.Fields(out); len(fields) >= 2 {
		if err := removeDebs(dir); err != nil {
			return "", err
		}
		if _, err := a.runIn(ctx, dir, "apt-get", "-qq", "download", pkg); err != nil {
			return "", err
		}
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("expected one file in %s, found %d", dir, len(found))
	}
	return found[0], nil
}

// removeDebs drops older versions of a package.
func removeDebs(dir string) error {
	old, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// DownloadWithDepends fetches these packages and everything that they depend on,
// without recommendations, and returns the paths of the .deb files.
func (a *Apt) DownloadWithDepends(ctx context.Context, pkgs ...string) ([]string, error) {
	unlock, err := a.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	what := strings.Join(pkgs, " ")
	plan, err := a.run(ctx, "apt-get", append([]string{"-s", "install", "--"}, pkgs...)...)
	if err != nil {
		return nil, fmt.Errorf("resolving the dependencies of %s: %w", what, err)
	}
	if _, err := a.run(ctx, "apt-get", append([]string{"-y", "-qq", "--download-only", "install", "--"}, pkgs...)...); err != nil {
		return nil, fmt.Errorf("downloading %s: %w", what, err)
	}
	var debs []string
	for _, name := range plannedFiles(plan) {
		deb := a.path("var/cache/apt/archives", name)
		if _, err := os.Stat(deb); err != nil {
			return nil, fmt.Errorf("downloading %s: apt left no such file: %w", what, err)
		}
		debs = append(debs, deb)
	}
	if len(debs) == 0 {
		return nil, fmt.Errorf("downloading %s: apt planned no packages", what)
	}
	return debs, nil
}

// plannedInstall is a line of apt-get's simulation, such as
// "Inst libc6 (2.36-9 Debian:12.1/oldstable [amd64]) []".
var plannedInstall = regexp.MustCompile(`(?m)^Inst (\S+) \((\S+) .*\[([a-z0-9]+)\]\)`)

// plannedFiles names the archive files of a simulated installation, escaped as apt
// escapes them.
func plannedFiles(plan string) []string {
	escape := strings.NewReplacer("%", "%25", ":", "%3a", "_", "%5f").Replace
	var files []string
	for _, m := range plannedInstall.FindAllStringSubmatch(plan, -1) {
		pkg, _, _ := strings.Cut(m[1], ":")
		files = append(files, escape(pkg)+"_"+escape(m[2])+"_"+m[3]+".deb")
	}
	return files
}

// Unpack extracts the contents of the packages into dir. No maintainer script
// runs.
func (a *Apt) Unpack(ctx context.Context, debs []string, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("unpacking: %w", err)
	}
	for _, deb := range debs {
		if _, err := exec.CommandContext(ctx, "dpkg-deb", "--extract", deb, dir).Output(); err != nil {
			return fmt.Errorf("unpacking %s: %w", filepath.Base(deb), withStderr(err))
		}
	}
	return nil
}

// unpacked fetches packages of a suite with everything that they depend on, and has use
// take what it needs of the tree that they are unpacked to, which is then removed.
func (c Cache) unpacked(ctx context.Context, suite string, pkgs []string, use func(root string) error) error {
	apt, err := OpenApt(ctx, c.Dir, suite)
	if err != nil {
		return err
	}
	debs, err := apt.DownloadWithDepends(ctx, pkgs...)
	if err != nil {
		return err
	}
	root, err := os.MkdirTemp(c.Dir, ".unpacked-*")
	if err != nil {
		return fmt.Errorf("unpacking: %w", err)
	}
	defer os.RemoveAll(root)
	if err := apt.Unpack(ctx, debs, root); err != nil {
		return err
	}
	return use(root)
}
