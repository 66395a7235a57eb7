// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/identity"
	"github.com/netns-trace/netns-trace/pkg/pins"
	"github.com/netns-trace/netns-trace/pkg/probe"
	"github.com/netns-trace/netns-trace/pkg/record"
	"github.com/netns-trace/netns-trace/pkg/report"
	"github.com/netns-trace/netns-trace/pkg/trace"
	"github.com/netns-trace/netns-trace/pkg/userstack"
)

// netnsAll asks for every network namespace that is pinned.
const netnsAll = "all"

// netnsPins tells what keeps a network namespace alive, or which ones are kept alive
// although nobody lives in them or can name them. which is what --netns got.
func netnsPins(ctx context.Context, which string, o *liveOptions) error {
	names := identity.New("")
	look := probe.PinsOptions{Skip: names.Host(), Avoid: kinds(o.avoid)}
	if which != netnsAll {
		inode, err := findNetns(names, which)
		if err != nil {
			return err
		}
		look.Only, look.Skip = inode, 0
	}
	sys, err := examine()
	if err != nil {
		return err
	}
	programs, err := probe.OpenPins(ctx, sys.kernel, look)
	if err != nil {
		return explain(err)
	}
	if o.verbose {
		o.speaker().printf("%s", planText(programs.Plan()))
	}
	p := &pinsRun{
		which: which, out: o.writer(os.Stdout), say: o.speaker(), known: new(finding.Knowledge),
		avoid: look.Avoid,
	}
	if text, ok := p.out.(report.Text); ok {
		p.text = &text
	}
	err = errors.Join(p.run(ctx, sys, names, programs, look), programs.Close())
	if err = errors.Join(err, p.outErr); err != nil {
		return err
	}
	if p.tally.Incidents() > 0 {
		return errFound
	}
	return nil
}

// pinsRun is one look, and what it led to.
type pinsRun struct {
	which  string
	out    report.Writer
	outErr error
	text   *report.Text // of out; nil: it is JSON
	say    speaker
	known  *finding.Knowledge
	avoid  []probe.Kind
	tally  report.Tally
}

func (p *pinsRun) run(ctx context.Context, sys system, names *identity.Namer, programs *probe.Pins, o probe.PinsOptions) error {
	detector := pins.New(p.known)
	engine := trace.NewEngine(p.known, p.found, detector)
	listed, seen := false, 0
	engine.Feed(probe.Clock())
	namer := trace.NewNamer(names, sys.kernel.Symbols, userstack.New(userstack.Options{}), false)
	look := trace.PinsLook{
		Pins: programs, Namer: namer,
		Only: o.Only, Skip: o.Skip,
		Feed: func(rec record.Record) {
			if list, ok := rec.(*record.NetnsList); ok {
				listed, seen = true, int(list.Namespaces)
			}
			engine.Feed(rec)
		},
	}
	if err := look.Run(ctx); err != nil {
		return err
	}
	if p.which != netnsAll && len(detector.Statements()) == 0 && p.tally.Incidents() == 0 {
		if listed {
			p.say.printf("no network namespace %s is alive: it is gone, or its cleanup has begun\n", p.which)
		} else {
			p.say.printf("nothing is to be seen of network namespace %s\n", p.which)
		}
		if err := p.cleanup(ctx, sys, namer, o.Only); err != nil {
			return err
		}
	}
	if err := p.state(detector.Statements()); err != nil {
		return err
	}
	for _, lost := range programs.Plan().Lost() {
		p.say.printf("note: %s\n", lost)
	}
	if p.which == netnsAll {
		p.say.printf("looked at %d network namespaces: %d pinned\n", seen, p.tally.Kinds(string(finding.Refs), pins.KindPinned))
	}
	return nil
}

func (p *pinsRun) found(f *finding.Finding) {
	p.tally.Count(f)
	if p.outErr == nil {
		p.outErr = p.out.Write(f)
	}
}

// state says what is no finding: of the one namespace that was asked for, in full.
// JSON has findings only, so that a reader who counts lines counts what is wrong.
func (p *pinsRun) state(statements []pins.Statement) error {
	if p.which == netnsAll {
		return nil
	}
	if p.text == nil {
		for _, s := range statements {
			p.say.printf("%s\n", s.Summary)
		}
		return nil
	}
	for _, s := range statements {
		if err := p.text.State(s.Summary, s.Facts); err != nil {
			return err
		}
	}
	return nil
}

// findNetns finds the namespace that somebody means: by path, name, number or
// container.
func findNetns(names *identity.Namer, which string) (uint32, error) {
	inode, err := netnsInode(which)
	if err == nil {
		return inode, nil
	}
	switch found := names.FindNetns(which); len(found) {
	case 0:
		return 0, usageError{fmt.Errorf("--netns: %w, and no container of that name has one", err)}
	case 1:
		return found[0].Inode, nil
	default:
		var inodes []string
		for _, ns := range found {
			inodes = append(inodes, fmt.Sprint(ns.Inode))
		}
		return 0, usagef("--netns: several network namespaces are called %q: %s", which, strings.Join(inodes, ", "))
	}
}
