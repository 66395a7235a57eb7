// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	_ "embed" // the guest's start script
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// DockerStart is the path, in the image that [DockerDisk] makes, of the program that
// starts containerd and dockerd and returns when containers can be run. With
// "--preload FILE.so" dockerd gets that library in LD_PRELOAD.
const DockerStart = "/usr/sbin/start-dockerd"

// startDockerd is the source of [DockerStart].
//
//go:embed dockerd/start.sh
var startDockerd []byte

const (
	dockerSuite = "bookworm"
	// Sparse: what lies on the disk is the 300 MB or so that are written.
	dockerImageSize = "1200M"
)

// dockerPackages is what dockerd needs to run containers, and what a person who
// looks at its networks wants to have at hand.
func dockerPackages() []string {
	return []string{"docker.io", "containerd", "runc", "iptables", "iproute2", "ethtool", "busybox-static", "dash"}
}

// DockerDisk returns the path of an ext4 image, to boot from with the disk in
// snapshot mode, that holds Debian bookworm's dockerd and what it needs. No
// maintainer script is run and no root is needed. The image is made once; remove
// docker/ from the cache to have it made of newer packages.
func DockerDisk(ctx context.Context, cache Cache) (imagePath string, err error) {
	dir := filepath.Join(cache.Dir, "docker", dockerRecipe())
	imagePath = filepath.Join(dir, "docker.ext4")
	err = cache.Publish(ctx, dir, func(tmp string) error {
		return makeDockerDisk(ctx, cache, tmp)
	})
	if err != nil {
		return "", fmt.Errorf("making the docker disk: %w", err)
	}
	return imagePath, nil
}

// dockerRecipe names what the image is made of, versions of packages apart: an image
// of yesterday's packages is as good, and needs no network.
func dockerRecipe() string {
	h := sha256.New()
	fmt.Fprintln(h, "layout 1", dockerSuite, dockerImageSize, dockerPackages())
	h.Write(startDockerd)
	return hex.EncodeToString(h.Sum(nil)[:6])
}

func makeDockerDisk(ctx context.Context, cache Cache, tmp string) error {
	apt, err := OpenApt(ctx, cache.Dir, dockerSuite)
	if err != nil {
		return err
	}
	cache.progressf("docker disk: fetching docker.io of Debian %s", dockerSuite)
	debs, err := apt.DownloadWithDepends(ctx, dockerPackages()...)
	if err != nil {
		return err
	}
	root := filepath.Join(tmp, "root")
	cache.progressf("docker disk: unpacking %d packages", len(debs))
	if err := apt.Unpack(ctx, withoutPerl(debs), root); err != nil {
		return err
	}
	if err := finishDockerRoot(ctx, root); err != nil {
		return err
	}
	cache.progressf("docker disk: writing the image")
	// No journal: the disk is always booted in snapshot mode, a crash loses nothing.
	mkfs, err := administrationProgram("mkfs.ext4")
	if err != nil {
		return err
	}
	_, err = exec.CommandContext(ctx, mkfs, "-q", "-F", "-O", "^has_journal", "-E", "root_owner=0:0",
		"-d", root, filepath.Join(tmp, "docker.ext4"), dockerImageSize).Output()
	if err != nil {
		return fmt.Errorf("mkfs.ext4: %w", withStderr(err))
	}
	return os.RemoveAll(root)
}

// administrationProgram finds a program of the sbin directories, which are not in
// everyone's PATH.
func administrationProgram(name string) (string, error) {
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed: apt-get install e2fsprogs", name)
}

// withoutPerl leaves out what only maintainer scripts would run: it is a quarter of
// the files.
func withoutPerl(debs []string) []string {
	var kept []string
	for _, deb := range debs {
		name, _, _ := strings.Cut(filepath.Base(deb), "_")
		if !strings.HasPrefix(name, "perl") && !strings.HasPrefix(name, "libperl") && !strings.HasSuffix(name, "-perl") {
			kept = append(kept, deb)
		}
	}
	return kept
}

// finishDockerRoot does what the maintainer scripts would have done, as far as
// dockerd needs it.
func finishDockerRoot(ctx context.Context, root string) error {
	for _, dir := range []string{"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"} {
		if err := os.RemoveAll(filepath.Join(root, dir)); err != nil {
			return err
		}
	}
	for _, dir := range []string{
		"proc", "sys", "dev", "run", "tmp", "root", "lab", "etc", "var/log", "var/lib/docker", "usr/lib/lab",
	} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	for name, text := range userlandText {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	// Not busybox's shell, which would prefer its own ip to iproute2's.
	if err := linkUnlessThere(root, "bin/sh", "dash"); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, DockerStart), startDockerd, 0o755); err != nil {
		return err
	}
	// update-alternatives would have made these.
	for _, name := range []string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"} {
		if err := linkUnlessThere(root, "usr/sbin/"+name, "xtables-nft-multi"); err != nil {
			return err
		}
	}
	applets, err := busyboxApplets(ctx, root)
	if err != nil {
		return err
	}
	for _, name := range applets {
		if appletsLeftOut[name] {
			continue
		}
		if err := linkApplet(root, name); err != nil {
			return err
		}
	}
	return writeBusyboxTar(root, applets)
}

// busyboxApplets asks the unpacked busybox, a static program, what it can be called.
func busyboxApplets(ctx context.Context, root string) ([]string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(root, "bin/busybox"), "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("listing busybox's applets: %w", withStderr(err))
	}
	return strings.Fields(string(out)), nil
}

// linkApplet makes /bin/NAME call busybox, unless a package brought the real program.
func linkApplet(root, name string) error {
	for _, dir := range []string{"bin", "sbin", "usr/bin", "usr/sbin"} {
		if _, err := os.Lstat(filepath.Join(root, dir, name)); err == nil {
			return nil
		}
	}
	return linkUnlessThere(root, "bin/"+name, "busybox")
}

func linkUnlessThere(root, name, target string) error {
	err := os.Symlink(target, filepath.Join(root, name))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// writeBusyboxTar puts what docker is to import as the image "busybox" into the
// tree: there is no registry in the lab.
func writeBusyboxTar(root string, applets []string) error {
	busybox, err := os.Open(filepath.Join(root, "bin/busybox"))
	if err != nil {
		return err
	}
	defer busybox.Close()
	out, err := os.Create(filepath.Join(root, "usr/lib/lab/busybox.tar"))
	if err != nil {
		return err
	}
	defer out.Close()

	w := tar.NewWriter(out)
	for _, dir := range []string{"bin/", "etc/", "tmp/", "root/"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}); err != nil {
			return err
		}
	}
	info, err := busybox.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755, Size: info.Size()}); err != nil {
		return err
	}
	if _, err := io.Copy(w, busybox); err != nil {
		return err
	}
	for _, name := range applets {
		if name == "busybox" {
			continue // docker refuses a tar that names a path twice
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777}); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return out.Close()
}
