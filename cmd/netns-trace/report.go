// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/report"
	"github.com/netns-trace/netns-trace/pkg/timeline"
)

const reportLong = `report prints what a recording holds: the findings that live tracing printed, or
would have printed, when it was made. It needs no root, loads nothing into the
kernel, and works on any machine.

The text begins with the verdict: what was found, what is missing, where it was
recorded. Times are those of the recording machine's clock and time zone. A file
that is cut off or damaged is reported up to there, with a note.

Of a recording in several files, give all of them in their order.

html is one page that loads nothing, to look at. mail is the body of a mail to a
kernel list: 75 columns, stacks for scripts/decode_stacktrace.sh. ref_tracker and
balance are the references of devices that waited, as the kernel's own debug code
would print them.`

// reportOptions are the flags of report.
type reportOptions struct {
	format  string
	follow  bool
	json    bool
	mail    bool
	verbose bool
	color   string
}

// reportFormats are the values of --format.
func reportFormats() []string {
	return []string{"text", "json", "html", "mail", "ref_tracker", "balance"}
}

func newReportCommand() *cobra.Command {
	var o reportOptions
	cmd := &cobra.Command{
		Use:   "report FILE...",
		Short: "Tell what a recording holds",
		Long:  reportLong,
		Example: `  netns-trace report leak.ntrace
  netns-trace report --json leak.ntrace | jq .summary
  netns-trace report --follow leak.ntrace                 while it is being recorded
  netns-trace report --format html leak.ntrace > leak.html
  netns-trace report --mail leak.ntrace | scripts/decode_stacktrace.sh vmlinux`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("report needs the FILE of a recording")
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return o.run(cmd.Context(), args, os.Stdout)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.format, "format", "text", "how: "+strings.Join(reportFormats(), ", "))
	f.BoolVar(&o.json, "json", false, "the same as --format json")
	f.BoolVar(&o.mail, "mail", false, "the same as --format mail")
	f.BoolVarP(&o.follow, "follow", "f", false, "go on as the file grows, until its end or Ctrl-C")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print whole stacks")
	f.StringVar(&o.color, "color", "auto", "colour the text: auto, always or never")
	return cmd
}

// reportMemory is what the collector of garbage keeps to as long as it can, in bytes.
const reportMemory = 150 << 20

func (o *reportOptions) check() error {
	if o.json {
		o.format = "json"
	}
	if o.mail {
		o.format = "mail"
	}
	switch {
	case o.follow && o.format != "text" && o.format != "json":
		return usagef("--follow needs --format text or json: the others are written at the end")
	case !slices.Contains(reportFormats(), o.format):
		return usagef("--format is one of %s, not %q", strings.Join(reportFormats(), ", "), o.format)
	case !slices.Contains([]string{"auto", "always", "never"}, o.color):
		return usagef("--color is auto, always or never, not %q", o.color)
	}
	return nil
}

func (o *reportOptions) run(ctx context.Context, paths []string, out *os.File) error {
	// Long recordings leave much garbage; a report is to fit beside other work.
	debug.SetMemoryLimit(reportMemory)
	buffered := bufio.NewWriter(out)
	p := &replay{follow: o.follow}
	var err error
	switch o.format {
	case "json":
		err = o.stream(ctx, p, paths, buffered, func() report.Writer { return report.JSON{W: buffered} })
	case "html":
		if term.IsTerminal(int(out.Fd())) {
			return usagef("a page is not for a terminal: put \"> FILE.html\" behind the command")
		}
		t := timeline.New()
		p.seen = t.Observe
		err = o.whole(ctx, p, paths, buffered, func() document { return report.NewPage(p.known, t) })
	case "mail":
		err = o.whole(ctx, p, paths, buffered, func() document {
			h := p.start.Host
			return &report.Mail{
				Tool: p.start.Tool, Kernel: strings.TrimSpace(h.Release + " " + h.Machine), Version: h.Version, Config: h.Kernel,
			}
		})
	case "ref_tracker", "balance":
		err = o.whole(ctx, p, paths, buffered, func() document { return &report.References{Form: report.Form(o.format)} })
	default:
		err = o.text(ctx, p, paths, buffered, term.IsTerminal(int(out.Fd())))
	}
	if err := errors.Join(err, buffered.Flush()); err != nil {
		return err
	}
	if o.format != "text" {
		for _, n := range p.about.Notes {
			fmt.Fprintf(os.Stderr, "note: %s\n", n)
		}
	}
	if p.damaged != nil {
		return p.damaged
	}
	if p.tally.Incidents() > 0 {
		return errFound
	}
	return nil
}

// document is a form of a report that is written when all is known.
type document interface {
	report.Writer
	Finish(w io.Writer, about report.Recorded) error
}

// whole replays all and writes one document. make is called once there is a start.
func (o *reportOptions) whole(ctx context.Context, p *replay, paths []string, out io.Writer, make func() document) error {
	var d document
	p.begun = func() { d = make() }
	var failed error
	p.found = func(f *finding.Finding) { failed = errors.Join(failed, d.Write(f)) }
	if err := errors.Join(p.files(ctx, paths), failed); err != nil {
		return err
	}
	if err := d.Finish(out, p.about); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// stream prints findings as they come.
func (o *reportOptions) stream(ctx context.Context, p *replay, paths []string, out *bufio.Writer, writer func() report.Writer) error {
	var w report.Writer
	var failed error
	p.found = func(f *finding.Finding) {
		if w == nil {
			w = writer()
		}
		err := w.Write(f)
		if o.follow && err == nil {
			err = out.Flush()
		}
		if failed == nil && err != nil {
			failed = fmt.Errorf("writing the report: %w", err)
		}
	}
	err := p.files(ctx, paths)
	return errors.Join(err, failed)
}

// text prints the verdict before the findings, or after those of a file that grows.
func (o *reportOptions) text(ctx context.Context, p *replay, paths []string, out *bufio.Writer, terminal bool) error {
	var held spool
	defer held.close()
	var incidents report.Incidents
	var ledgers report.Ledgers
	p.seen = ledgers.Observe
	body := io.Writer(&held)
	if o.follow {
		body = out
	}
	err := o.stream(ctx, p, paths, out, func() report.Writer {
		color := o.color == "always" || o.color == "auto" && terminal && os.Getenv("NO_COLOR") == ""
		text := report.Text{W: body, Color: color, Verbose: o.verbose, Zone: p.start.Zone.Location()}
		return both{&incidents, text}
	})
	if err != nil {
		return err
	}
	if err := p.about.Verdict(out, &incidents); err != nil {
		return err
	}
	if err := ledgers.Write(out, p.known); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return held.writeTo(out)
}

// both takes note of a finding before it is written.
type both struct {
	incidents *report.Incidents
	report.Writer
}

func (b both) Write(f *finding.Finding) error {
	b.incidents.Take(f)
	return b.Writer.Write(f)
}
