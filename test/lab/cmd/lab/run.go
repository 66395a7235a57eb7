// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/netns-trace/netns-trace/test/lab"
)

// run boots a kernel, runs one command in it and returns the command's exit code.
func run(ctx context.Context, in *interrupts, args []string) (code int, err error) {
	m := newMachine("run")
	timeout := m.flags.Duration("timeout", 0, "kill the command after this time")
	stdin := m.flags.Bool("i", false, "pass on standard input")
	dump := m.flags.String("dump", "", "when the command has ended, write the guest's memory to this file: compressed if its name ends in .kdump, else ELF")
	if err := m.flags.Parse(args); err != nil {
		return 2, err
	}
	m.config.Dumps = *dump != ""
	args = m.flags.Args()
	if len(args) > 1 && args[1] == "--" {
		args = append(args[:1:1], args[2:]...)
	}
	if len(args) < 2 {
		return 2, errors.New("usage: lab run [flags] KERNEL -- COMMAND [ARG...]")
	}
	vm, err := m.boot(ctx, args[0])
	if err != nil {
		return 0, err
	}
	defer m.finish(vm)
	command := lab.Command{Argv: args[1:], Stdout: os.Stdout, Stderr: os.Stderr, Timeout: *timeout}
	if *stdin {
		command.Stdin = os.Stdin
	}
	p, err := vm.Start(ctx, command)
	if err != nil {
		return 0, err
	}
	in.passTo(p.Signal)
	code, err = p.Wait()
	if err == nil && *dump != "" {
		format := lab.DumpELF
		if strings.HasSuffix(*dump, ".kdump") {
			format = lab.DumpKdump
		}
		err = vm.Dump(ctx, *dump, format)
	}
	return code, err
}
