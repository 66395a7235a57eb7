// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// labDir is where the initramfs stays visible after the switch.
const labDir = "/lab"

// switchRoot makes an ext4 disk the root of this process and of all that it starts.
// The initramfs is then at /lab, and the paths listed in copies have been copied from
// it.
func switchRoot(device string, copies []string) error {
	if err := waitFor(device, 30*time.Second); err != nil {
		return err
	}
	const root = "/mnt"
	if err := unix.Mount(device, root, "ext4", 0, ""); err != nil {
		return fmt.Errorf("mounting %s: %w", device, err)
	}
	for _, path := range copies {
		if err := copyTree(path, filepath.Join(root, path)); err != nil {
			return fmt.Errorf("copying %s: %w", path, err)
		}
	}
	if err := bindLab(root); err != nil {
		return err
	}
	for _, m := range [...]string{"/proc", "/sys", "/dev", "/run", "/tmp"} {
		if err := os.MkdirAll(root+m, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m, root+m, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("moving %s: %w", m, err)
		}
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("moving the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("changing root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return installModprobe()
}

// bindLab makes the initramfs visible at /lab of the new root.
func bindLab(root string) error {
	if err := os.MkdirAll(root+labDir, 0o755); err != nil {
		return err
	}
	// Not recursive: the new root, mounted in the old one, must not appear in
	// itself.
	if err := unix.Mount("/", root+labDir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("binding %s: %w", labDir, err)
	}
	return nil
}

// installModprobe gives the new root the kernel's modules and, unless it has its
// own, a modprobe.
func installModprobe() error {
	dir, err := modulesDir()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Symlink(labDir+dir, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Symlink(labDir+"/init", modprobePath); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func waitFor(path string, limit time.Duration) error {
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		_, err := os.Stat(path)
		if err == nil {
			return nil
		}
		if time.Since(start) > limit {
			return fmt.Errorf("waiting for %s: %w", path, err)
		}
	}
}

func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		switch d.Type() {
		case fs.ModeDir:
			return os.MkdirAll(target, 0o755)
		case fs.ModeSymlink:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		default:
			return copyFile(path, target)
		}
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	// A file of that name may be a link out of the new root, or running.
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
