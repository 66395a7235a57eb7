// SPDX-License-Identifier: Apache-2.0

// Command lab boots Debian's kernels in QEMU and runs programs in them.
//
//	lab kernels [-refresh]             fetch and list the kernels
//	lab run [flags] KERNEL -- COMMAND  run one command, with its exit code
//	lab shell [flags] KERNEL           an interactive shell
//
// KERNEL is 5.10, 6.1, 6.12 or newest, each also with -plain for Debian's full
// kernel instead of the small one for clouds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/netns-trace/netns-trace/test/lab"
)

const usage = `usage:
  lab kernels [-refresh]                      fetch and list the kernels
  lab run [flags] KERNEL -- COMMAND [ARG...]  run one command, with its exit code
  lab shell [flags] KERNEL                    an interactive shell

KERNEL is 5.10, 6.1, 6.12 or newest; with -plain after it, such as 6.12-plain,
Debian's full kernel instead of the small one for clouds.
lab run -h lists the flags.
`

// exitFailure is the exit code when the lab itself fails, as opposed to the command
// that it runs.
const exitFailure = 125

func main() {
	ctx, in, stop := catchInterrupts()
	code, err := dispatch(ctx, in, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "lab:", err)
		code = exitFailure
	}
	os.Exit(code)
}

func dispatch(ctx context.Context, in *interrupts, args []string) (code int, err error) {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return 2, nil
	}
	switch name, args := args[0], args[1:]; name {
	case "kernels":
		return 0, kernels(ctx, args)
	case "run":
		return run(ctx, in, args)
	case "shell":
		return shell(ctx, args)
	case "help", "-h", "-help", "--help":
		fmt.Print(usage)
		return 0, nil
	default:
		fmt.Fprint(os.Stderr, usage)
		return 2, fmt.Errorf("no command %q", name)
	}
}

// kernels fetches the matrix, and what boots it, and lists it.
func kernels(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("lab kernels", flag.ContinueOnError)
	refresh := flags.Bool("refresh", false, "ask the package archives for newer builds now")
	plain := flags.Bool("plain", false, "the full kernels too (57 to 170 MB each to download)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cache, err := lab.OpenCache(os.Stderr)
	if err != nil {
		return err
	}
	cache.Refresh = *refresh
	flavours := []string{lab.FlavourCloud}
	if *plain {
		flavours = append(flavours, lab.FlavourPlain)
	}
	if _, err := lab.FetchEmulator(ctx, cache); err != nil {
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tRELEASE\tVERSION\tSUITE\tMIB")
	var failed []error
	for _, flavour := range flavours {
		for _, name := range lab.KernelNames() {
			k, err := lab.FetchKernel(ctx, cache, name, flavour)
			if err != nil {
				failed = append(failed, err)
				continue
			}
			size, err := k.Size()
			if err != nil {
				return err
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\n", k, k.Release, k.Version, k.Suite, size>>20)
		}
	}
	return errors.Join(append(failed, table.Flush())...)
}
