// SPDX-License-Identifier: Apache-2.0

// Command refsites measures the scanner of pkg/refsite against the debug
// information of Debian's kernels: how many of the inlined calls of dev_hold and
// dev_put it finds, in the kernel and in every module, and how many others.
//
// The columns: sites by the debug information; sites that the scanner found; those
// in both; those found in functions that the debug information is silent about,
// which count for nothing; recall and precision of the rest; found where no probe
// may be placed; inlined calls whose own code has no such instruction.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"text/tabwriter"

	"github.com/cilium/ebpf/btf"

	"github.com/netns-trace/netns-trace/pkg/refsite"
	"github.com/netns-trace/netns-trace/test/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "refsites:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("refsites", flag.ContinueOnError)
	list := flags.Bool("list", false, "also list every site")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "refsites [-list] [KERNEL or unpacked debug package]...")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	names := flags.Args()
	if len(names) == 0 {
		names = []string{"6.1", "6.12", "newest"}
	}
	cache, err := lab.OpenCache(os.Stderr)
	if err != nil {
		return err
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "kernel\tin\tDWARF\tfound\tboth\tsilent\trecall\tprecision\trefused\telsewhere\t")
	bad := false
	for _, name := range names {
		k, err := measure(ctx, cache, name)
		if err != nil {
			return fmt.Errorf("kernel %s: %w", name, err)
		}
		good := k.print(out, os.Stderr, *list)
		bad = bad || !good
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if bad {
		return errors.New("recall below 99.5 % or precision below 100 %")
	}
	return nil
}

// measured is what was found in one kernel.
type measured struct {
	name    string
	results []result
}

// measure reads all objects of a kernel, then scans them: the layout is in vmlinux,
// and that may come last.
func measure(ctx context.Context, cache lab.Cache, name string) (measured, error) {
	m := measured{name: name}
	var layout refsite.Layout
	err := eachObject(ctx, cache, name, func(module string, data []byte) error {
		o, err := openObject(data, module)
		if err != nil {
			return err
		}
		if module == "" {
			if layout, err = o.layout(); err != nil {
				return err
			}
		}
		t, err := o.readTruth()
		o.file = nil // holds all of data
		m.results = append(m.results, result{object: o, truth: t})
		return err
	})
	if err != nil {
		return m, err
	}
	if layout.Count == 0 {
		return m, errors.New("the package has no vmlinux")
	}
	for i := range m.results {
		r := &m.results[i]
		r.sites, err = refsite.Scan(ctx, r.object, r.object.ranges(), r.object, layout)
		if err != nil {
			return m, fmt.Errorf("scanning %q: %w", r.object.name, err)
		}
	}
	return m, nil
}

// layout reads the type information of a vmlinux.
func (o *object) layout() (refsite.Layout, error) {
	s := o.file.Section(".BTF")
	if s == nil {
		return refsite.Layout{}, errors.New("vmlinux has no BTF")
	}
	data, err := s.Data()
	if err != nil {
		return refsite.Layout{}, fmt.Errorf("reading BTF: %w", err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(data))
	if err != nil {
		return refsite.Layout{}, fmt.Errorf("reading BTF: %w", err)
	}
	var device *btf.Struct
	if err := spec.TypeByName("net_device", &device); err != nil {
		return refsite.Layout{}, fmt.Errorf("reading BTF: %w", err)
	}
	return refsite.ReadLayout(device)
}

// print writes the kernel's two lines of the table, and to details what was missed
// and what is false. It returns whether the kernel meets the targets.
func (m measured) print(table, details io.Writer, list bool) bool {
	good := true
	for _, modules := range []bool{false, true} {
		var inDwarf, found, both, silent, refused, elsewhere int
		for _, r := range m.results {
			if (r.object.name != "") != modules {
				continue
			}
			inDwarf, found, elsewhere = inDwarf+len(r.truth.sites), found+len(r.sites), elsewhere+len(r.truth.elsewhere)
			known := map[uint64]bool{}
			for _, s := range r.sites {
				known[s.Addr] = true
				_, right := r.truth.sites[s.Addr]
				what := ""
				switch {
				case right:
					both++
				case r.truth.silent(s.Addr):
					silent++
					what = "DWARF does not describe the function"
				default:
					what = "not in DWARF"
				}
				if s.Refused != "" {
					refused++
				}
				if list || !right {
					fmt.Fprintf(details, "%s\t%s\t%s\t%s+%#x\t%s\t%s\t%s\t%s\t%s\n", m.name, s.Op, objectName(r.object),
						s.Symbol, s.Offset, s.Register, s.Rule, s.Base, s.Refused, what)
				}
			}
			for addr, name := range r.truth.sites {
				if f, _ := r.object.FunctionAt(addr); !known[addr] {
					fmt.Fprintf(details, "%s\tmissed\t%s\t%s+%#x\t%s\n", m.name, objectName(r.object), f.Name, addr-f.Start, name)
				}
			}
			for _, addr := range r.truth.elsewhere {
				f, _ := r.object.FunctionAt(addr)
				fmt.Fprintf(details, "%s\telsewhere\t%s\t%s+%#x\n", m.name, objectName(r.object), f.Name, addr-f.Start)
			}
		}
		where := "vmlinux"
		if modules {
			where = fmt.Sprintf("%d modules", len(m.results)-1)
		}
		recall, precision := percent(both, inDwarf), percent(both, found-silent)
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%d\t%.2f %%\t%.2f %%\t%d\t%d\t\n",
			m.name, where, inDwarf, found, both, silent, recall, precision, refused, elsewhere)
		good = good && recall >= 99.5 && precision == 100
	}
	return good
}

func objectName(o *object) string {
	if o.name == "" {
		return "vmlinux"
	}
	return o.name
}

func percent(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}
