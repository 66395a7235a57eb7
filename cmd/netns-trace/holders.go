// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"

	"github.com/spf13/cobra"
)

func newHoldersCommand() *cobra.Command {
	var o liveOptions
	var netns string
	cmd := &cobra.Command{
		Use:   "holders --netns NETNS",
		Short: "Tell what keeps a network namespace alive",
		Long: `holders --netns tells which threads, descriptors, sockets and bind mounts keep a
network namespace alive: one by its name, path, number or container, or with "all"
those that nobody lives in or can name any more. Nothing has to be traced before.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case netns == "":
				return usagef("holders needs --netns")
			case !slices.Contains([]string{"auto", "always", "never"}, o.color):
				return usagef("--color is auto, always or never, not %q", o.color)
			}
			if err := checkAvoid(o.avoid); err != nil {
				return err
			}
			return netnsPins(cmd.Context(), netns, &o)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&netns, "netns", "", "`NETNS`: a network namespace by name, path, inode number or container; or \"all\"")
	f.BoolVar(&o.json, "json", false, "print findings as JSON, one a line")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print findings only")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print how each thing is seen on this kernel")
	f.StringVar(&o.color, "color", "auto", "colour the text: auto, always or never")
	f.StringSliceVar(&o.avoid, "avoid", nil, "ways of attaching not to use, such as iter: "+kindNames())
	return cmd
}
