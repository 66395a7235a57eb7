// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// newManCommand writes manual pages, for packages.
func newManCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man DIRECTORY", Short: "Write manual pages", Hidden: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("man needs one directory")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return writeManuals(args[0], cmd.Root()) },
	}
}

func writeManuals(dir string, cmd *cobra.Command) error {
	if cmd.Hidden || cmd.Name() == "completion" || cmd.Name() == "help" {
		return nil
	}
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	if err := os.WriteFile(filepath.Join(dir, name+".1"), manual(name, cmd), 0o644); err != nil {
		return fmt.Errorf("writing the manual page of %s: %w", cmd.CommandPath(), err)
	}
	for _, sub := range cmd.Commands() {
		if err := writeManuals(dir, sub); err != nil {
			return err
		}
	}
	return nil
}

// manual is a page in the language of man(7).
func manual(name string, cmd *cobra.Command) []byte {
	var b bytes.Buffer
	section := func(title string) { fmt.Fprintf(&b, ".SH %s\n", title) }
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"netns-trace %s\"\n", strings.ToUpper(name), roff(versionString()))
	section("NAME")
	fmt.Fprintf(&b, "%s \\- %s\n", roff(name), roff(strings.ToLower(cmd.Short[:1])+cmd.Short[1:]))
	section("SYNOPSIS")
	fmt.Fprintf(&b, "%s\n", roff(cmd.UseLine()))
	section("DESCRIPTION")
	long := cmd.Long
	if long == "" {
		long = cmd.Short + "."
	}
	verbatim(&b, long)
	section("OPTIONS")
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		names := "--" + f.Name
		if f.Shorthand != "" {
			names = "-" + f.Shorthand + ", " + names
		}
		fmt.Fprintf(&b, ".TP\n.B %s %s\n%s", roff(names), roff(value), roff(usage))
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "[]" {
			fmt.Fprintf(&b, " (%s)", roff(f.DefValue))
		}
		b.WriteByte('\n')
	})
	if cmd.Example != "" {
		section("EXAMPLES")
		verbatim(&b, cmd.Example)
	}
	section("EXIT STATUS")
	fmt.Fprintf(&b, "0 nothing found, 1 error, 2 usage, 3 something was found\n")
	return b.Bytes()
}

func verbatim(b *bytes.Buffer, text string) { fmt.Fprintf(b, ".nf\n%s\n.fi\n", roff(text)) }

// roff escapes what has a meaning in that language: backslashes, hyphens that are to
// be copied, and a dot or quote at the beginning of a line.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
