// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDockerDiskHoldsWhatDockerdNeeds(t *testing.T) {
	image, err := DockerDisk(t.Context(), testCache(t))
	if err != nil {
		t.Fatal(err)
	}
	debugfs, err := administrationProgram("debugfs")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"/usr/sbin/dockerd", "/usr/bin/docker", "/usr/bin/containerd", "/usr/sbin/runc", "/usr/bin/containerd-shim-runc-v2",
		"/usr/sbin/iptables", DockerStart, "/usr/lib/lab/busybox.tar", "/bin/dash", "/bin/ip",
	} {
		// debugfs says on standard error that a file is not there, and exits 0.
		out, err := exec.CommandContext(t.Context(), debugfs, "-R", "stat "+path, image).Output()
		if err != nil {
			t.Fatalf("debugfs: %v", withStderr(err))
		}
		if len(out) == 0 {
			t.Errorf("the image has no %s", path)
		}
	}
}

func TestPackagesOfPerlAreLeftOut(t *testing.T) {
	got := withoutPerl([]string{
		"/a/perl-base_5.36.0_amd64.deb", "/a/libperl5.36_5.36.0_amd64.deb", "/a/libtext-glob-perl_0.11_all.deb",
		"/a/docker.io_20.10_amd64.deb", "/a/libc6_2.36_amd64.deb",
	})
	want := []string{"/a/docker.io_20.10_amd64.deb", "/a/libc6_2.36_amd64.deb"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

func TestBusyboxAppletNeverHidesTheRealProgram(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"bin", "sbin", "usr/bin", "usr/sbin"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writeFiles(t, filepath.Join(root, "usr/sbin"), map[string]string{"ip": "iproute2's"})
	for _, name := range []string{"ip", "sleep", "sleep"} {
		if err := linkApplet(root, name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(filepath.Join(root, "bin/ip")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("bin/ip was made although usr/sbin/ip is there: %v", err)
	}
	if target, err := os.Readlink(filepath.Join(root, "bin/sleep")); err != nil || target != "busybox" {
		t.Errorf("bin/sleep is %q, %v, want a link to busybox", target, err)
	}
}

func TestBusyboxTarCanRunItsShell(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"bin", "usr/lib/lab"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writeFiles(t, filepath.Join(root, "bin"), map[string]string{"busybox": "the program"})
	if err := writeBusyboxTar(root, []string{"busybox", "sh", "sleep"}); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(filepath.Join(root, "usr/lib/lab/busybox.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var names []string
	for r := tar.NewReader(file); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(names, header.Name) {
			t.Errorf("%s is in the tar twice, which docker refuses", header.Name)
		}
		names = append(names, header.Name)
		if header.Name == "bin/busybox" {
			content, err := io.ReadAll(r)
			if err != nil || string(content) != "the program" || header.Mode != 0o755 {
				t.Errorf("bin/busybox has %q, mode %o, %v", content, header.Mode, err)
			}
		}
		if header.Name == "bin/sh" && header.Linkname != "busybox" {
			t.Errorf("bin/sh links to %q", header.Linkname)
		}
	}
	for _, want := range []string{"bin/busybox", "bin/sh", "bin/sleep"} {
		if !slices.Contains(names, want) {
			t.Errorf("the tar has %v, and no %s", names, want)
		}
	}
}
