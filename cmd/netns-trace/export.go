// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/netns-trace/netns-trace/pkg/export"
	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

const exportLong = `export writes what a recording holds in the form of another tool:

  jsonl     every record and finding as a line of JSON (docs/export.schema.json)
  perfetto  a trace for ui.perfetto.dev: threads with the namespaces they were in,
            counters for devices, checksums and dst entries
  pcapng    the packets whose checksum was wrong, the verdict as their comment
  parquet   findings and events as one table, the same for all recordings

Addresses of the kernel are replaced by numbers that tell the same from the
different.`

func newExportCommand() *cobra.Command {
	var format, output string
	cmd := &cobra.Command{
		Use:   "export FILE... --to FORMAT [-o OUT]",
		Short: "Write a recording in the form of another tool",
		Long:  exportLong,
		Example: `  netns-trace export leak.ntrace --to perfetto -o leak.pftrace
  netns-trace export leak.ntrace --to pcapng | tshark -r - -T fields -e frame.comment`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("export needs the FILE of a recording")
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(export.Formats(), format) {
				return usagef("--to is one of %s, not %q", strings.Join(export.Formats(), ", "), format)
			}
			return exportTo(cmd.Context(), args, format, output)
		},
	}
	cmd.Flags().StringVar(&format, "to", "", "the `FORMAT`: "+strings.Join(export.Formats(), ", "))
	cmd.Flags().StringVarP(&output, "output", "o", "", "the file to write (default: standard output)")
	return cmd
}

func exportTo(ctx context.Context, paths []string, format, output string) (err error) {
	out := os.Stdout
	switch {
	case output != "":
		// Like a recording, it tells of what runs on a machine.
		if out, err = os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			return fmt.Errorf("making the file: %w", err)
		}
		defer func() { err = errors.Join(err, out.Close()) }()
	case format != "jsonl" && term.IsTerminal(int(out.Fd())):
		return usagef("%s is not for a terminal: give -o OUT", format)
	}
	buffered := bufio.NewWriterSize(out, 64<<10)
	var w export.Writer
	var failed error
	p := &replay{}
	p.begun = func() { w, failed = export.New(format, buffered, p.start, p.known) }
	p.seen = func(rec record.Record) { w.Record(rec) }
	p.found = func(f *finding.Finding) { w.Finding(f) }
	if err := errors.Join(p.files(ctx, paths), failed); err != nil {
		return err
	}
	if err := errors.Join(w.Finish(p.about), buffered.Flush()); err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	for _, n := range p.about.Notes {
		fmt.Fprintf(os.Stderr, "note: %s\n", n)
	}
	return p.damaged
}
