// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
)

// annotationReloads marks a command for which SIGHUP does not mean "leave".
const annotationReloads = "reloads"

const monitorLong = `monitor traces like netns-trace without a subcommand, as a service: until it is
told to end, with a log instead of findings. An incident is all findings of the
same bug, class, kind, call trace, kind of device and kernel; it is logged when it
begins and when it is over, and counted between.

Settings are flags, variables of the environment (NETNS_TRACE_LOG_LEVEL for
--log-level) and a YAML file of the same names (--config), the first that has one
counts. SIGHUP reads the file again: the level of the log, budgets, and how long an
incident has to be over are taken at once, of the others it is said that they need
a restart.`

const monitorExample = `  sudo netns-trace monitor
  sudo netns-trace monitor --config /etc/netns-trace/monitor.yaml
  netns-trace monitor --config monitor.yaml --check-config`

func newMonitorCommand() *cobra.Command {
	o := new(monitorOptions)
	cmd := &cobra.Command{
		Use:         "monitor [flags]",
		Short:       "Trace for ever, as a service",
		Long:        monitorLong,
		Example:     monitorExample,
		Args:        noArgs,
		Annotations: map[string]string{annotationReloads: "SIGHUP"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			// What was typed, to be put together with a file that changes.
			args := typedArgs(cmd.Flags())
			places, err := o.load(cmd.Flags())
			if err != nil {
				return usageError{err}
			}
			if err := places.Locate(o.check()); err != nil {
				return usageError{err}
			}
			if o.checkConfig {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "the settings are all right")
				return err
			}
			return runMonitor(cmd.Context(), o, args)
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

// logLines logs what is written to it, a line each.
type logLines struct{ log *slog.Logger }

func (l logLines) Write(text []byte) (int, error) {
	for line := range bytes.Lines(text) {
		line := strings.TrimSpace(string(line))
		if note, ok := strings.CutPrefix(line, "note: "); ok {
			l.log.Warn(note)
		} else if line != "" {
			l.log.Info(line)
		}
	}
	return len(text), nil
}
