// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/netns-trace/netns-trace/test/lab"
)

// debugOrigin is where the debug package of a kernel of the matrix is.
type debugOrigin struct{ suite, meta string }

func debugPackage(name string) (debugOrigin, bool) {
	switch name {
	case "5.10":
		return debugOrigin{"bullseye", "linux-image-amd64-dbg"}, true
	case "6.1":
		return debugOrigin{"bookworm", "linux-image-amd64-dbg"}, true
	case "6.12":
		return debugOrigin{"bookworm", "linux-image-6.12-amd64-dbg"}, true
	case "6.12-trixie": // the same source by a newer compiler
		return debugOrigin{"trixie", "linux-image-amd64-dbg"}, true
	case "newest":
		return debugOrigin{"trixie-backports", "linux-image-amd64-dbg"}, true
	}
	return debugOrigin{}, false
}

// eachObject calls yield with the contents of each file of a kernel's debug
// package that has code. The kernel itself has no module name. Module files have
// their text in the package too.
func eachObject(ctx context.Context, cache lab.Cache, name string, yield func(module string, data []byte) error) error {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return eachFile(ctx, name, yield)
	}
	origin, ok := debugPackage(name)
	if !ok {
		return errors.New("no such kernel, no such directory")
	}
	apt, err := lab.OpenApt(ctx, cache.Dir, origin.suite)
	if err != nil {
		return err
	}
	_, depends, err := apt.Resolve(ctx, origin.meta)
	if err != nil {
		return err
	}
	depends = slices.DeleteFunc(depends, func(name string) bool { return !strings.HasSuffix(name, "-dbg") })
	if len(depends) != 1 {
		return fmt.Errorf("%s depends on %q, not on one package of debug information", origin.meta, depends)
	}
	debs, err := apt.Download(ctx, depends...)
	if err != nil {
		return err
	}
	return eachPacked(ctx, debs[0], yield)
}

// eachPacked reads a package without unpacking it: that would be 7 GB.
func eachPacked(ctx context.Context, deb string, yield func(string, []byte) error) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("reading %s: %w", deb, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("reading %s: %w", deb, err)
	}
	defer func() {
		if err != nil {
			cancel()
		}
		if waitErr := cmd.Wait(); err == nil && waitErr != nil {
			err = fmt.Errorf("reading %s: %w", deb, waitErr)
		}
	}()
	for r := tar.NewReader(pipe); ; {
		header, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", deb, err)
		}
		module, ok := objectOf(header.Name)
		if !ok || header.Typeflag != tar.TypeReg {
			continue
		}
		data := make([]byte, header.Size)
		if _, err := io.ReadFull(r, data); err != nil {
			return fmt.Errorf("reading %s of %s: %w", header.Name, deb, err)
		}
		if err := yield(module, data); err != nil {
			return fmt.Errorf("%s: %w", header.Name, err)
		}
	}
}

// eachFile reads a package that was unpacked.
func eachFile(ctx context.Context, root string, yield func(string, []byte) error) error {
	return filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		module, ok := objectOf(file)
		if err != nil || !ok || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := yield(module, data); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		return ctx.Err()
	})
}

// objectOf returns the module that a file of the package is; vmlinux is none.
func objectOf(file string) (module string, ok bool) {
	base := path.Base(file)
	if base == "vmlinux" || strings.HasPrefix(base, "vmlinux-") {
		return "", true
	}
	return strings.CutSuffix(base, ".ko")
}
