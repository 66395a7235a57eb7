// SPDX-License-Identifier: Apache-2.0

// Netns-trace finds container-network bugs in a running kernel.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit statuses, as --help tells them.
const (
	exitNothing = 0
	exitError   = 1
	exitUsage   = 2
	exitFound   = 3
)

// usageError is a mistake in what was typed.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// errFound ends the command with the status that says something was found.
var errFound = errors.New("something was found")

func main() {
	// Go's table of what is allocated where would be 1.5 MB, of which another page is
	// touched now and then for as long as the process lives; see profileEvery.
	runtime.MemProfileRate = 0
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	root := newRootCommand()
	root.SetArgs(args)
	ctx, stop := signal.NotifyContext(context.Background(), endingSignals(reloads(root, args))...)
	defer stop()
	// After the first signal the next one ends the process at once; the kernel
	// then removes what is attached.
	context.AfterFunc(ctx, stop)

	err := root.ExecuteContext(ctx)
	status := statusOf(err)
	switch status {
	case exitError:
		fmt.Fprintf(os.Stderr, "netns-trace: %v\n", err)
	case exitUsage:
		fmt.Fprintf(os.Stderr, "netns-trace: %v\nnetns-trace --help tells what there is.\n", err)
	}
	return status
}

// statusOf is the exit status that an error of the command means.
func statusOf(err error) int {
	usage := usageError{}
	switch {
	case err == nil:
		return exitNothing
	case errors.Is(err, errFound):
		return exitFound
	case errors.As(err, &usage):
		return exitUsage
	}
	return exitError
}

// reloads reports whether the command is one that takes SIGHUP for itself.
func reloads(root *cobra.Command, args []string) bool {
	cmd, _, err := root.Find(args)
	return err == nil && cmd.Annotations[annotationReloads] != ""
}

// endingSignals are those that mean "leave". A terminal that closes is one,
// unless the user said with nohup that it shall not be, or the command reloads.
func endingSignals(reloads bool) []os.Signal {
	signals := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !reloads && !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

const rootLong = `netns-trace watches a running kernel for bugs of container networking, and
prints nothing until it finds one:

  threads  a thread left behind in another network namespace: cloned while its
           parent was there with setns(), or gone and never returned
  refs     a network device that cannot be freed because somebody holds it
           ("unregister_netdevice: waiting for veth1 to become free"), and who
  csum     a veth device, or a tc program, that marks checksums as verified that
           nobody verified, and which packets were corrupt
  dst      a dst entry that cannot be allocated, or that is charged to one
           namespace and released on another

Without a subcommand it traces live until Ctrl-C, --duration, or the end of what
it watches. Findings go to standard output, everything else to standard error.

It needs root, or CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_SYSLOG and
CAP_DAC_READ_SEARCH (before 5.11 also CAP_SYS_RESOURCE), and a kernel with BTF,
5.10 or newer ("netns-trace doctor" tells what this one allows). It loads no
kernel module, changes no setting, and leaves nothing behind, also when it is
killed. A bug class that this kernel does not let it see is left out, with a
note, unless --only, --pid or --comm asks for it.`

const rootExample = `  sudo netns-trace                                  everything, the whole host
  sudo netns-trace --pid $(pidof dockerd)           threads of dockerd, the rest of the whole host
  sudo netns-trace --only threads --comm dockerd    also a dockerd that starts later
  sudo netns-trace --json | jq .summary             one finding a line
  sudo netns-trace --duration 60s --quiet; test $? -eq 3 && echo found something`

func newRootCommand() *cobra.Command {
	var o liveOptions
	root := &cobra.Command{
		Use:           "netns-trace [flags]",
		Short:         "Find container-network bugs in a running kernel",
		Long:          rootLong,
		Example:       rootExample,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			return o.takePIDs(args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return live(cmd.Context(), &o) },
	}
	o.addFlags(root.Flags())
	o.addRecordFlag(root.Flags())
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.SetUsageTemplate(root.UsageTemplate() + exitStatusHelp)
	root.AddCommand(newRefsCommand(), newHoldersCommand(),
		newMonitorCommand(), newRecordCommand(), newReportCommand(), newExportCommand(), newRedactCommand(),
		newDoctorCommand(), newVersionCommand(), newManCommand())
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	return root
}

const exitStatusHelp = `
Exit status: 0 nothing found, 1 error, 2 usage, 3 something was found.
`
