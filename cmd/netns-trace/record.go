// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const recordLong = `record traces like netns-trace without a subcommand, with the same flags, and
writes all that the detectors see into a file. Findings are not printed: the last
summary tells how many there are, and "netns-trace report FILE" prints them, on
any machine, without root. (To see them at once and record as well, give
--record FILE to live tracing.)

The file is made with mode 0600, and none is overwritten. FILE may be a FIFO, or
"-" for standard output. What was written before a kill, a crash or a full disk
can be read. A file can be read while it is written (report -f).

With --max-size a new file is begun when one has that size: leak.ntrace,
leak.1.ntrace, leak.2.ntrace. Each can be read by itself. --max-files keeps the
newest ones only.

With --last it is a flight recorder: what happened in that time is held in memory
(64 MB at most, or --max-size) and written when something is found, or on
SIGUSR1, with what happens in the same time after it.

With a COMMAND it records while that runs. Its exit status is not passed on.`

const recordExample = `  sudo netns-trace record -o leak.ntrace                     until Ctrl-C
  sudo netns-trace record -o leak.ntrace -d 10m --only refs
  sudo netns-trace record -o flight.ntrace --last 60s        only when something is found
  sudo netns-trace record -o ring.ntrace --max-size 100M --max-files 5
  sudo netns-trace record -o test.ntrace -- docker run --rm busybox true
  netns-trace report leak.ntrace`

func newRecordCommand() *cobra.Command {
	o := liveOptions{}
	o.record.only = true
	cmd := &cobra.Command{
		Use:     "record -o FILE [flags] [-- COMMAND [ARG...]]",
		Short:   "Trace, and write what is seen into a file",
		Long:    recordLong,
		Example: recordExample,
		Args: func(cmd *cobra.Command, args []string) error {
			words := args
			if dash := cmd.ArgsLenAtDash(); dash >= 0 {
				words, o.record.command = args[:dash], args[dash:]
				if len(o.record.command) == 0 {
					return usagef("-- is to be followed by a command")
				}
			}
			return o.takePIDs(words)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.record.Path == "" {
				return usagef("record needs -o FILE")
			}
			return live(cmd.Context(), &o)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&o.record.Path, "output", "o", "", "the `FILE` to write; - for standard output")
	f.Var((*byteSize)(&o.record.MaxSize), "max-size", "begin a new file at this `SIZE`, such as 100M; with --last: hold at most so much")
	f.IntVar(&o.record.MaxFiles, "max-files", 0, "keep the newest `N` files only (default: all)")
	f.DurationVar(&o.record.Last, "last", 0, "hold this time in memory, and write it when something is found or on SIGUSR1")
	f.BoolVar(&o.record.Redact, "redact", false, "replace names and addresses, as netns-trace redact does")
	o.addFlags(f)
	for _, only := range []string{"json", "color"} { // of findings, which are not printed
		// The flag was added just now.
		_ = f.MarkHidden(only)
	}
	return cmd
}

// addRecordFlag is the one flag of live tracing that records.
func (o *liveOptions) addRecordFlag(f *pflag.FlagSet) {
	f.StringVar(&o.record.Path, "record", "", "also write what is seen into this `FILE`, for netns-trace report")
}

// check finds mistakes before anything is done.
func (o recordOptions) check() error {
	device := o.Path == "-"
	switch {
	case o.MaxSize < 0 || o.MaxSize > 0 && o.MaxSize < 64<<10:
		return usagef("--max-size must be at least 64K")
	case o.MaxFiles < 0:
		return usagef("--max-files cannot be negative")
	case o.MaxFiles > 0 && o.MaxSize == 0 && o.Last == 0:
		return usagef("--max-files needs --max-size or --last: without them there is one file")
	case o.Last < 0 || o.Last > 0 && o.Last < time.Second:
		return usagef("--last must be a second or more")
	case device && (o.MaxSize > 0 || o.Last > 0):
		return usagef("--max-size and --last write several files: they need a FILE, not standard output")
	}
	return nil
}

// byteSize is a flag such as 100M.
type byteSize int64

func (b *byteSize) Type() string { return "SIZE" }

func (b *byteSize) String() string {
	if *b == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*b), 10)
}

// Set implements pflag.Value.
func (b *byteSize) Set(text string) error {
	digits := strings.TrimRight(text, "KMGB")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return fmt.Errorf("%q is no size: write it as 100M", text)
	}
	shifts := map[string]int{"": 0, "B": 0, "K": 10, "M": 20, "G": 30, "KB": 10, "MB": 20, "GB": 30}
	shift, ok := shifts[text[len(digits):]]
	if !ok || n < 0 || n > 1<<62>>shift {
		return fmt.Errorf("%q is no size: write it as 100M", text)
	}
	*b = byteSize(n << shift)
	return nil
}
