// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// loaderPath is where Debian's libc6 has the dynamic loader of amd64, without the
// /usr that suites with a merged tree put before it.
const loaderPath = "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"

// wrapNewerTools makes the programs of a kbuild package run on this host.
// A backported kernel is built on a newer Debian: 7.3's modpost and objtool want
// glibc 2.38, and a bookworm host has 2.36. Such programs are replaced by scripts
// that run them with the loader and the libraries of their own suite, kept beside
// them. Unpacked is where the files are now, final where they will be.
func wrapNewerTools(ctx context.Context, apt *Apt, kbuild, unpacked, final string) error {
	have, err := hostGlibc(ctx)
	if err != nil {
		return err
	}
	tools, err := toolsNewerThan(filepath.Join(unpacked, "usr/lib", kbuild), have)
	if err != nil || len(tools) == 0 {
		return err
	}
	debs, err := apt.DownloadWithDepends(ctx, kbuild)
	if err != nil {
		return err
	}
	const runtime = "runtime"
	if err := apt.Unpack(ctx, debs, filepath.Join(unpacked, runtime)); err != nil {
		return err
	}
	prefix := runtime
	if _, err := os.Stat(filepath.Join(unpacked, prefix, loaderPath)); err != nil {
		prefix = filepath.Join(runtime, "usr")
	}
	loader := filepath.Join(final, prefix, loaderPath)
	for _, tool := range tools {
		rel, err := filepath.Rel(unpacked, tool)
		if err != nil {
			return err
		}
		if err := os.Rename(tool, tool+".elf"); err != nil {
			return fmt.Errorf("wrapping %s: %w", rel, err)
		}
		script := wrapperScript(loader, filepath.Join(final, rel+".elf"))
		if err := os.WriteFile(tool, []byte(script), 0o755); err != nil {
			return fmt.Errorf("wrapping %s: %w", rel, err)
		}
	}
	return nil
}

func wrapperScript(loader, program string) string {
	return fmt.Sprintf("#!/bin/sh\nexec %s --library-path %s --argv0 \"$0\" %s \"$@\"\n",
		shellQuote(loader), shellQuote(filepath.Dir(loader)), shellQuote(program))
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// hostGlibc returns the version of this host's C library.
func hostGlibc(ctx context.Context) (glibcVersion, error) {
	out, err := exec.CommandContext(ctx, "getconf", "GNU_LIBC_VERSION").Output()
	if err != nil {
		return glibcVersion{}, fmt.Errorf("asking for this host's glibc version: %w", withStderr(err))
	}
	text, _ := strings.CutPrefix(strings.TrimSpace(string(out)), "glibc ")
	version, ok := parseGlibc(text)
	if !ok {
		return glibcVersion{}, fmt.Errorf("asking for this host's glibc version: getconf said %q", out)
	}
	return version, nil
}

// A glibcVersion is major and minor; symbol versions have no more that matters here.
type glibcVersion struct{ major, minor int }

func (v glibcVersion) newerThan(w glibcVersion) bool {
	return v.major > w.major || v.major == w.major && v.minor > w.minor
}

// parseGlibc reads "2.38" and "2.3.4".
func parseGlibc(text string) (glibcVersion, bool) {
	parts := strings.SplitN(text, ".", 3)
	if len(parts) < 2 {
		return glibcVersion{}, false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return glibcVersion{major, minor}, err1 == nil && err2 == nil
}

// toolsNewerThan returns the ELF programs below dir that want a newer glibc than have.
func toolsNewerThan(dir string, have glibcVersion) ([]string, error) {
	var tools []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		wants, err := wantedGlibc(path)
		if err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
		if wants.newerThan(have) {
			tools = append(tools, path)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for programs that this host cannot run: %w", err)
	}
	return tools, nil
}

// wantedGlibc returns the newest GLIBC_x.y symbol version that a file needs; zero for
// what is no ELF file or needs none.
func wantedGlibc(path string) (glibcVersion, error) {
	file, err := elf.Open(path)
	if _, ok := errors.AsType[*elf.FormatError](err); ok {
		return glibcVersion{}, nil
	}
	if err != nil {
		// An empty file or one of a few bytes ends before the magic number does.
		if info, statErr := os.Stat(path); statErr == nil && info.Size() < 64 {
			return glibcVersion{}, nil
		}
		return glibcVersion{}, err
	}
	defer file.Close()
	needs, err := file.DynamicVersionNeeds()
	if err != nil {
		return glibcVersion{}, nil // a static program or an object file
	}
	var newest glibcVersion
	for _, library := range needs {
		for _, need := range library.Needs {
			text, ok := strings.CutPrefix(need.Dep, "GLIBC_")
			if version, parsed := parseGlibc(text); ok && parsed && version.newerThan(newest) {
				newest = version
			}
		}
	}
	return newest, nil
}
