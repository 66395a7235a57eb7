// SPDX-License-Identifier: Apache-2.0

// Command daemonset runs the container of a DaemonSet as kubelet has containerd run it,
// by containerd's own ctr: its security context, mounts and limits, and containerd's
// defaults for all else, such as what is masked in /proc.
//
//	daemonset DAEMONSET.yaml ID ROOTFS LOG
//
// The log is where the container's output goes. What it does not know of a container it
// refuses, so that nothing of the file is left out silently.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

func main() {
	argv, err := run(os.Args[1:])
	if err == nil {
		err = start(argv)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "daemonset:", err)
		os.Exit(1)
	}
}

// run is the command that runs the container; the files that it mounts are made.
func run(args []string) (argv []string, err error) {
	if len(args) != 4 {
		return nil, errors.New("wants DAEMONSET.yaml ID ROOTFS LOG")
	}
	file, id, rootfs := args[0], args[1], args[2]
	log, err := filepath.Abs(args[3])
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	m, err := readManifest(text)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	volumes, err := m.place(rootfs + ".volumes")
	if err != nil {
		return nil, err
	}
	flags, err := m.flags(volumes)
	if err != nil {
		return nil, err
	}
	argv = append([]string{"ctr", "run", "--detach", "--rootfs", "--log-uri", "file://" + log}, flags...)
	return append(append(argv, rootfs, id), m.command()...), nil
}

// start has ctr take this program's place.
func start(argv []string) error {
	path, err := exec.LookPath(argv[0])
	if err == nil {
		err = syscall.Exec(path, argv, os.Environ())
	}
	return err
}
