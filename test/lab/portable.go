// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Portable names programs of one Debian release that are to run on another, or in a
// guest: all that they load comes with them, the C library and its loader too.
type Portable struct {
	// Name is what the programs are called in the cache.
	Name string
	// Suite is the release, such as "trixie".
	Suite    string
	Packages []string
	// Programs are names in /usr/bin.
	Programs []string
	// Data are files that are to be in share/, by their paths from the root.
	Data []string
}

const (
	loaderName = "ld-linux-x86-64.so.2"
	// libraryDir is where all releases since bookworm have their libraries.
	libraryDir = "usr/lib/x86_64-linux-gnu"
	// portableLayout is part of the place in the cache: change it with the layout.
	portableLayout = "2"
)

// PortableCommand is the command line that runs a program of dir, a directory that
// [Portable.Fetch] made, or what that is called where the program is to run.
func PortableCommand(dir, program string, args ...string) []string {
	lib := filepath.Join(dir, "lib")
	return append([]string{filepath.Join(lib, loaderName), "--library-path", lib, filepath.Join(dir, "bin", program)}, args...)
}

// Fetch returns a directory with bin/, lib/ and share/. It is made once; remove it to
// have it made of newer packages.
func (p Portable) Fetch(ctx context.Context, cache Cache) (dir string, err error) {
	sum := sha256.Sum256([]byte(fmt.Sprint(portableLayout, p)))
	dir = filepath.Join(cache.Dir, "programs", p.Name+"-"+hex.EncodeToString(sum[:6]))
	err = cache.Publish(ctx, dir, func(tmp string) error {
		cache.progressf("%s: fetching %s from %s", p.Name, strings.Join(p.Packages, ", "), p.Suite)
		return cache.unpacked(ctx, p.Suite, p.Packages, func(root string) error { return p.layOut(ctx, root, tmp) })
	})
	if err != nil {
		return "", fmt.Errorf("fetching %s: %w", p.Name, err)
	}
	return dir, nil
}

// layOut copies the programs of an unpacked tree, and what they load, to dir.
func (p Portable) layOut(ctx context.Context, root, dir string) error {
	loader := filepath.Join(root, libraryDir, loaderName)
	files := map[string]string{filepath.Join("lib", loaderName): loader}
	for _, name := range p.Programs {
		program := filepath.Join(root, "usr/bin", name)
		files[filepath.Join("bin", name)] = program
		// The loader itself says what it would load, a line each: NAME => PATH (ADDRESS).
		out, err := exec.CommandContext(ctx, loader, "--library-path", filepath.Join(root, libraryDir), "--list", program).Output()
		if err != nil {
			return fmt.Errorf("listing the libraries of %s: %w", name, withStderr(err))
		}
		for line := range strings.Lines(string(out)) {
			if library, path, ok := strings.Cut(line, " => "); ok {
				path, _, _ = strings.Cut(path, " (")
				files[filepath.Join("lib", strings.TrimSpace(library))] = strings.TrimSpace(path)
			}
		}
	}
	for _, name := range p.Data {
		files[filepath.Join("share", filepath.Base(name))] = filepath.Join(root, name)
	}
	for name, from := range files {
		if err := copyExecutable(filepath.Join(dir, name), from); err != nil {
			return err
		}
	}
	return nil
}

// copyExecutable copies a file and makes it executable.
func copyExecutable(to, from string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return fmt.Errorf("copying %s: %w", from, err)
	}
	return out.Close()
}
