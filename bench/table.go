// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// printFigures prints a table for each workload. The spread is that of what is added,
// between the boots, when there were several.
func printFigures(out io.Writer, boots []figures) error {
	first := boots[0]
	fmt.Fprintf(out, "\nLinux %s\n", first.release)
	for _, w := range workloads {
		var rows strings.Builder
		for _, v := range variants() {
			if f, ok := first.find(w.name, v.name); ok {
				rows.WriteString(row(boots, v, f))
			}
		}
		if rows.Len() == 0 {
			continue
		}
		fmt.Fprintf(out, "\n%s: %s, %.0f instructions untraced\n", w.name, w.what, typicalUntraced(first, w.name))
		tab := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
		head := "added\t× empty\tof untraced\t"
		if len(boots) > 1 {
			head += "spread\t"
		}
		fmt.Fprintln(tab, head+"\t")
		fmt.Fprint(tab, rows.String())
		if err := tab.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func row(boots []figures, v variant, f figure) string {
	times := ""
	if ratio, ok := boots[0].ratio(f.workload, v.name, v.floor); ok {
		times = fmt.Sprintf("%.2f", ratio)
	}
	line := fmt.Sprintf("%.0f\t%s\t%.2f %%\t", f.added(), times, 100*f.share())
	if len(boots) > 1 {
		line += fmt.Sprintf("%.0f\t", spread(boots, f.workload, v.name))
	}
	// The last column is aligned by hand: a tab would align it to the right.
	return line + "  " + v.name + "\n"
}

func typicalUntraced(s figures, workload string) float64 {
	var values []float64
	for _, f := range s.list {
		if f.workload == workload {
			values = append(values, f.before, f.after)
		}
	}
	return median(values)
}

// spread is the greatest difference between boots in what a variant adds.
func spread(boots []figures, workload, variant string) float64 {
	least, most := math.Inf(1), math.Inf(-1)
	for _, s := range boots {
		if f, ok := s.find(workload, variant); ok {
			least, most = min(least, f.added()), max(most, f.added())
		}
	}
	return most - least
}

// printVerdicts prints how the promises stand and returns those that are broken.
func printVerdicts(out io.Writer, verdicts []verdict) (broken []string) {
	for _, v := range verdicts {
		fmt.Fprintf(out, "%-10s  %s: %s\n", v.state, v.promise, v.figures)
		if v.state == fail {
			broken = append(broken, v.promise)
		}
	}
	return broken
}
