// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/refsite"
)

// siteList is what doctor --sites tells; its JSON keys are stable.
type siteList struct {
	Version string       `json:"version"`
	Sites   []siteDetail `json:"sites"`
}

// siteDetail is one place where the kernel changes a reference count.
type siteDetail struct {
	// Place is symbol+0xoffset, and the module in brackets.
	Place    string `json:"place"`
	Addr     string `json:"addr"` // hexadecimal: JSON numbers end at 2^53
	Op       string `json:"op"`
	Family   string `json:"family"`
	Known    bool   `json:"family_known"`
	Register string `json:"register"`
	Rule     string `json:"rule"`
	// Load is the address of the instruction before, when a probe there sees the
	// device itself.
	Load string `json:"load_addr,omitempty"`
	Base string `json:"device_register,omitempty"`
	// After is the address of an instruction behind it, at which a probe stays a
	// breakpoint; AfterRegister has there what Register has here, or the device.
	After         string `json:"after_addr,omitempty"`
	AfterRegister string `json:"after_register,omitempty"`
	AfterDevice   bool   `json:"after_device,omitempty"`
	// loadPlace is where the load is in the function.
	loadPlace string
	Refused   string `json:"refused,omitempty"`
	// Skipped is why no probe is needed.
	Skipped string `json:"skipped,omitempty"`
}

// listSites scans the running kernel.
func listSites(ctx context.Context) (siteList, error) {
	families, err := refsite.LoadFamilies()
	if err != nil {
		return siteList{}, err
	}
	symbols, err := kernel.LoadSymbols()
	if err != nil {
		return siteList{}, err
	}
	sites, err := refsite.Running(ctx, symbols, kernel.NewTypes())
	if err != nil {
		return siteList{}, err
	}
	hot, err := refsite.LoadHot()
	if err != nil {
		return siteList{}, err
	}
	return siteList{Version: versionString(), Sites: describeSites(sites, families, hot)}, nil
}

func describeSites(sites []refsite.Site, families, hot refsite.Families) []siteDetail {
	list := make([]siteDetail, 0, len(sites))
	for _, s := range sites {
		d := siteDetail{
			Place: fmt.Sprintf("%s+%#x", s.Symbol, s.Offset), Addr: fmt.Sprintf("%#x", s.Addr),
			Op: s.Op.String(), Register: s.Register.String(), Rule: s.Rule.String(), Refused: string(s.Refused),
		}
		if s.Module != "" {
			d.Place += " [" + s.Module + "]"
		}
		d.Family, d.Known = families.Of(s.Symbol, s.Module)
		d.Skipped = refsite.Skipped(&s, hot, false)
		if s.LoadAddr != 0 {
			d.Load, d.Base = fmt.Sprintf("%#x", s.LoadAddr), s.Base.String()
			d.loadPlace = fmt.Sprintf("+%#x", s.Offset-(s.Addr-s.LoadAddr))
		}
		if s.AfterAddr != 0 {
			d.After, d.AfterRegister, d.AfterDevice = fmt.Sprintf("%#x", s.AfterAddr), s.AfterRegister.String(), s.AfterDevice
		}
		list = append(list, d)
	}
	return list
}

// write prints the sites by family, the largest first.
func (l siteList) write(w io.Writer) error {
	byFamily := map[string][]siteDetail{}
	var holds, loads, refused, skipped int
	for _, s := range l.Sites {
		byFamily[s.Family] = append(byFamily[s.Family], s)
		if s.Op == refsite.Hold.String() {
			holds++
		}
		if s.Load != "" {
			loads++
		}
		if s.Refused != "" {
			refused++
		}
		if s.Skipped != "" {
			skipped++
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d reference sites: %d hold, %d put, %d with the device at the load before; %d refused, %d not needed\n",
		len(l.Sites), holds, len(l.Sites)-holds, loads, refused, skipped)
	for _, family := range sortedFamilies(byFamily) {
		sites := byFamily[family]
		note := ""
		if !sites[0].Known {
			note = " (not in the table of families)"
		}
		fmt.Fprintf(&b, "\n%s: %d%s\n", family, len(sites), note)
		for _, s := range sites {
			fmt.Fprintf(&b, "  %-4s  %s", s.Op, s.Place)
			if s.Load != "" {
				fmt.Fprintf(&b, ", device in %s at the load, %s", s.Base, s.loadPlace)
			}
			b.WriteByte('\n')
			if s.Refused != "" {
				fmt.Fprintf(&b, "        refused: %s\n", s.Refused)
			}
			if s.Skipped != "" {
				fmt.Fprintf(&b, "        not needed: %s\n", s.Skipped)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func sortedFamilies(byFamily map[string][]siteDetail) []string {
	names := make([]string, 0, len(byFamily))
	for name, sites := range byFamily {
		names = append(names, name)
		slices.SortStableFunc(sites, func(a, b siteDetail) int { return strings.Compare(a.Op, b.Op) })
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(byFamily[b]), len(byFamily[a])), strings.Compare(a, b))
	})
	return names
}
