// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/textprobe"
)

// diagnosis is what doctor tells; its JSON keys are stable.
type diagnosis struct {
	Version  string       `json:"version"`
	Kernel   kernel.Facts `json:"kernel"`
	Plan     probe.Plan   `json:"plan,omitempty"`
	Promises []promise    `json:"promises"`
	// Sites is absent where no reference site is watched, or debugfs cannot be read.
	Sites *siteCounts `json:"reference_sites,omitempty"`
	// Stale are groups of kprobe events whose netns-trace is gone.
	Stale []string `json:"stale_kprobe_events,omitempty"`
}

// siteCounts is of how many reference sites the probe has become a jump.
type siteCounts struct {
	Watched   int `json:"watched"`
	Optimized int `json:"optimized"`
}

// promise is what one detector can do on this kernel.
type promise struct {
	Detector string `json:"detector"`
	Works    bool   `json:"works"`
	Text     string `json:"text"`
}

func newDoctorCommand() *cobra.Command {
	var asJSON, sites bool
	var avoid []string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Tell what can be seen on this kernel, how, and why not more",
		Long: `doctor attaches every probe for a moment, as tracing would, and tells which way
was taken for each thing to see, why better ones were refused, and what each
detector can therefore promise here. It changes nothing and leaves nothing behind.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkAvoid(avoid); err != nil {
				return err
			}
			var d interface{ write(io.Writer) error }
			if sites {
				list, err := listSites(cmd.Context())
				if err != nil {
					return fmt.Errorf("listing reference sites: %w", err)
				}
				d = list
			} else {
				d = diagnose(cmd.Context(), kinds(avoid))
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(d)
			}
			return d.write(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	cmd.Flags().BoolVar(&sites, "sites", false, "list instead each instruction that takes or drops a reference of a network device")
	cmd.Flags().StringSliceVar(&avoid, "avoid", nil, "ways of attaching not to use: "+kindNames())
	return cmd
}

func diagnose(ctx context.Context, avoid []probe.Kind) diagnosis {
	d := diagnosis{Version: versionString(), Kernel: kernel.Inspect(ctx)}
	d.Stale, _ = textprobe.Stale() // without tracefs there are none
	sys, err := examine()
	for _, detector := range probe.Detectors() {
		if err != nil {
			d.Promises = append(d.Promises, promise{Detector: detector, Text: err.Error()})
			continue
		}
		d.try(ctx, sys, detector, avoid)
	}
	return d
}

// try attaches one detector's probes and takes them off again.
func (d *diagnosis) try(ctx context.Context, sys system, detector string, avoid []probe.Kind) {
	session, err := probe.Open(ctx, sys.kernel, probe.Options{
		Detectors: []string{detector}, Required: []string{detector}, Avoid: avoid, RingBytes: 1 << 16,
		Names: len(d.Plan) == 0, // once is enough
	})
	if err != nil {
		if unseen := (*probe.UnseenError)(nil); errors.As(err, &unseen) {
			d.Plan = append(d.Plan, unseen.Outcome)
		}
		d.Promises = append(d.Promises, promise{Detector: detector, Text: explain(err).Error()})
		return
	}
	plan := session.Plan()
	p := promise{Detector: detector, Works: true, Text: "everything it looks for"}
	if lost := plan.Lost(); len(lost) > 0 {
		p.Text = "works, but " + strings.Join(lost, "; ")
	}
	if session.KeepsLedger() {
		d.Sites = countOptimized(ctx, session)
	}
	if err := session.Close(); err != nil {
		p.Text += fmt.Sprintf("; detaching failed: %v", err)
	}
	d.Plan, d.Promises = append(d.Plan, plan...), append(d.Promises, p)
}

// countOptimized waits until the kernel seems to be through with replacing probes by
// jumps, 5 seconds at most.
func countOptimized(ctx context.Context, session *probe.Session) *siteCounts {
	const look, settled, patience = 250 * time.Millisecond, 4, 20
	var counts *siteCounts
	for same, looks := 0, 0; same < settled && looks < patience; looks++ {
		optimized, watched, known := session.OptimizedSites()
		if !known {
			return nil
		}
		if counts == nil || counts.Optimized != optimized || optimized == 0 {
			same = 0
		}
		same++
		counts = &siteCounts{Watched: watched, Optimized: optimized}
		select {
		case <-ctx.Done():
			return counts
		case <-time.After(look):
		}
	}
	return counts
}

func (d diagnosis) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "netns-trace %s\n\nkernel\n%s\n", d.Version, indent(d.Kernel.String()))
	if len(d.Plan) > 0 {
		fmt.Fprintf(&b, "attach plan\n%s\n", indent(planText(d.Plan)))
	}
	if d.Sites != nil {
		fmt.Fprintf(&b, "reference sites\n  %d watched, at %d of them by a jump, at the others by a breakpoint\n", d.Sites.Watched, d.Sites.Optimized)
		if d.Sites.Optimized > 0 {
			b.WriteString("  a jump can be interrupted, and what is hit then is missed; breakpoints everywhere: sysctl debug.kprobes-optimization=0\n")
		}
		b.WriteString("\n")
	}
	b.WriteString("promises\n")
	for _, p := range d.Promises {
		yes := "no "
		if p.Works {
			yes = "yes"
		}
		fmt.Fprintf(&b, "  %s  %-8s %s\n", yes, p.Detector, p.Text)
	}
	if len(d.Stale) > 0 {
		b.WriteString("\nkprobe events of a netns-trace that is gone, which the next to attach deletes\n")
		fmt.Fprintf(&b, "  %s\n", strings.Join(d.Stale, "\n  "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// planText is an attach plan, a line a thing, the refused ways below it.
func planText(plan probe.Plan) string {
	var b strings.Builder
	for _, o := range plan {
		way := "not seen"
		if o.Way != nil {
			way = o.Way.String()
		} else if o.WaitsFor != "" {
			way = "when module " + o.WaitsFor + " is loaded"
		}
		fmt.Fprintf(&b, "%-8s %-40s %s", o.Detector, o.Thing, way)
		if o.VerifiedInstructions > 0 {
			fmt.Fprintf(&b, " (%d instructions verified)", o.VerifiedInstructions)
		}
		b.WriteByte('\n')
		for _, r := range o.Refused {
			fmt.Fprintf(&b, "%-8s   not %s: %s\n", "", r.Way, r.Reason)
		}
	}
	return b.String()
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ") + "\n"
}
