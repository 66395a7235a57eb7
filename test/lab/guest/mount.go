// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

var mounts = [...]struct {
	fstype, target, data string
	flags                uintptr
}{
	{"proc", "/proc", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"sysfs", "/sys", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"devtmpfs", "/dev", "mode=755", unix.MS_NOSUID},
	{"devpts", "/dev/pts", "newinstance,ptmxmode=0666,mode=620,gid=5", unix.MS_NOSUID | unix.MS_NOEXEC},
	{"tmpfs", "/dev/shm", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV},
	{"tmpfs", "/run", "mode=755", unix.MS_NOSUID | unix.MS_NODEV},
	{"tmpfs", "/tmp", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV},
	{"cgroup2", "/sys/fs/cgroup", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"bpf", "/sys/fs/bpf", "mode=700", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"debugfs", "/sys/kernel/debug", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"tracefs", "/sys/kernel/tracing", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"securityfs", "/sys/kernel/security", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
}

// mountAll mounts the kernel's file systems where a distribution has them, and
// reports all that failed.
func mountAll() error {
	var failed []error
	for _, m := range mounts {
		// sysfs and its kin do not let directories be made, and need none.
		if err := os.MkdirAll(m.target, 0o755); err != nil && !errors.Is(err, unix.EPERM) {
			failed = append(failed, err)
			continue
		}
		if err := unix.Mount(m.fstype, m.target, m.fstype, m.flags, m.data); err != nil {
			failed = append(failed, fmt.Errorf("mounting %s on %s: %w", m.fstype, m.target, err))
		}
	}
	failed = append(failed, makeNodes())
	for _, link := range [...][2]string{
		{"/proc/self/fd", "/dev/fd"},
		{"/proc/self/fd/0", "/dev/stdin"},
		{"/proc/self/fd/1", "/dev/stdout"},
		{"/proc/self/fd/2", "/dev/stderr"},
	} {
		if err := os.Symlink(link[0], link[1]); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// makeNodes makes the device files whose first opening loads their module. The kernel
// makes others by itself, and these only once the module is there.
func makeNodes() error {
	for _, node := range [...]struct {
		path         string
		major, minor uint32
	}{
		{"/dev/net/tun", 10, 200},
		{"/dev/loop-control", 10, 237},
	} {
		if err := os.MkdirAll(filepath.Dir(node.path), 0o755); err != nil {
			return err
		}
		err := unix.Mknod(node.path, unix.S_IFCHR|0o666, int(unix.Mkdev(node.major, node.minor)))
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("making %s: %w", node.path, err)
		}
	}
	return nil
}

// loopbackUp brings up lo in the initial network namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bringing up lo: %w", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("bringing up lo: %w", err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request); err != nil {
		return fmt.Errorf("bringing up lo: %w", err)
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bringing up lo: %w", err)
	}
	return nil
}
