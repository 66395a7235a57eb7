// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/netns-trace/netns-trace/test/lab"
)

// machine is what the flags of run and shell say.
type machine struct {
	flags   *flag.FlagSet
	config  lab.Config
	disk    string
	noTool  bool
	verbose bool
}

func newMachine(name string) *machine {
	m := &machine{flags: flag.NewFlagSet("lab "+name, flag.ContinueOnError)}
	m.config.Files = map[string]string{}
	m.flags.Func("m", "memory, such as 512M or 2G (default 1G)", m.setMemory)
	m.flags.IntVar(&m.config.CPUs, "smp", 2, "number of processors")
	m.flags.Func("f", "HOST:GUEST: put a file or directory into the guest; may be repeated", m.addFile)
	m.flags.Func("load", "load this module at boot; may be repeated", func(name string) error {
		m.config.Modules = append(m.config.Modules, name)
		return nil
	})
	m.flags.StringVar(&m.disk, "disk", "", "root disk: the path of an ext4 image, or docker for one with a dockerd")
	m.flags.StringVar(&m.config.Append, "append", "", "more for the kernel's command line")
	m.flags.BoolVar(&m.config.Icount, "icount", false, "make time a count of instructions, for measuring")
	m.flags.StringVar(&m.config.ConsoleLog, "console", "", "write the kernel's console to this file")
	m.flags.BoolVar(&m.noTool, "no-tool", false, "do not put the repository's ./netns-trace into the guest")
	m.flags.BoolVar(&m.verbose, "v", false, "say how long the boot took, and what the kernel complained of")
	return m
}

func (m *machine) setMemory(text string) error {
	number, unit := strings.TrimRight(text, "MGmg"), 1
	if strings.HasSuffix(strings.ToUpper(text), "G") {
		unit = 1024
	}
	n, err := strconv.Atoi(number)
	if err != nil || n <= 0 || len(text)-len(number) > 1 {
		return errors.New("not a size such as 512M or 2G")
	}
	m.config.MemoryMiB = n * unit
	return nil
}

func (m *machine) addFile(text string) error {
	host, guest, ok := strings.Cut(text, ":")
	if !ok || host == "" || guest == "" {
		return errors.New("not HOST:GUEST")
	}
	if strings.HasSuffix(guest, "/") {
		guest += filepath.Base(host)
	}
	m.config.Files[guest] = host
	return nil
}

// openKernel finds a kernel of the matrix, or one that somebody built in a directory.
func openKernel(ctx context.Context, cache lab.Cache, text string) (lab.Kernel, error) {
	if strings.Contains(text, "/") {
		return lab.KernelIn(text)
	}
	name, flavour, err := lab.ParseKernel(text)
	if err != nil {
		return lab.Kernel{}, err
	}
	return lab.FetchKernel(ctx, cache, name, flavour)
}

// boot fetches what is needed and starts the machine.
func (m *machine) boot(ctx context.Context, kernel string) (*lab.VM, error) {
	cache, err := lab.OpenCache(os.Stderr)
	if err != nil {
		return nil, err
	}
	m.config.Cache = cache
	if m.config.Kernel, err = openKernel(ctx, cache, kernel); err != nil {
		return nil, err
	}
	if m.config.Disk = m.disk; m.disk == "docker" {
		if m.config.Disk, err = lab.DockerDisk(ctx, cache); err != nil {
			return nil, err
		}
		if m.config.MemoryMiB == 0 {
			m.config.MemoryMiB = 2048 // dockerd and its containers need that
		}
	}
	if err := m.addTool(); err != nil {
		return nil, err
	}
	vm, err := lab.Boot(ctx, m.config)
	if err != nil {
		return nil, err
	}
	if m.verbose {
		fmt.Fprintf(os.Stderr, "lab: kernel %s (%s) ready after %.1f s of its own time\n",
			m.config.Kernel, m.config.Kernel.Release, vm.BootTime().Seconds())
	}
	for _, failure := range vm.Failed() {
		fmt.Fprintln(os.Stderr, "lab: in the guest:", failure)
	}
	return vm, nil
}

// addTool gives the guest the repository's netns-trace, if it has been built.
func (m *machine) addTool() error {
	if m.noTool {
		return nil
	}
	root, err := lab.RepositoryRoot()
	if err != nil {
		return nil // outside the repository there is no tool to give
	}
	tool := filepath.Join(root, "netns-trace")
	info, err := os.Stat(tool)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() {
		return nil
	}
	m.config.Files["/usr/local/bin/netns-trace"] = tool
	return err
}

// finish closes the machine and tells what the kernel complained of.
func (m *machine) finish(vm *lab.VM) {
	if m.verbose {
		for _, line := range vm.Complaints() {
			fmt.Fprintln(os.Stderr, "lab: the kernel said:", line)
		}
	}
	vm.Close()
}
