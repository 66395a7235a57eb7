// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/netns-trace/netns-trace/pkg/recording"
)

const redactLong = `redact copies a recording and replaces what tells of the machine and its users:
names of devices, namespaces, containers and processes, network addresses and
ports, addresses of the kernel, the bytes of packets, paths and functions of
programs, the command line and the host's name. The same is replaced by the same
all through the file, so that its findings can still be followed.

What stays: what happened and when, counts, process ids and inode numbers, the
kernel's release, its own functions and modules, the device lo.`

func newRedactCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "redact IN OUT",
		Short: "Copy a recording without names and addresses",
		Long:  redactLong,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("redact needs two files: IN and OUT")
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error { return redact(cmd.Context(), args[0], args[1]) },
	}
}

func redact(ctx context.Context, from, to string) error {
	in, err := openRecording(from)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	defer in.Close()
	r, err := recording.NewReader(in)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	defer r.Close()
	out, err := recording.Create(ctx, recording.Options{Path: to, Redact: true})
	if err != nil {
		return err
	}
	if err := out.Begin(*r.Start()); err != nil {
		return err
	}
	for {
		rec, _, err := r.Next()
		if err == nil {
			out.Fed(rec, nil)
			err = errors.Join(out.Err(), ctx.Err())
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, io.EOF):
			return out.Finish(*r.End())
		case out.Err() == nil && ctx.Err() == nil:
			// Cut off or damaged: so is the copy.
			fmt.Fprintf(os.Stderr, "note: %v\n", err)
			return out.CutOff()
		}
		return errors.Join(out.CutOff(), err)
	}
}
