// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/netns-trace/netns-trace/pkg/probe"
)

// parse does to a command line what the command does before it looks at the kernel.
func parse(line string) (*liveOptions, error) {
	o := new(liveOptions)
	flags := pflag.NewFlagSet("netns-trace", pflag.ContinueOnError)
	o.addFlags(flags)
	if err := flags.Parse(strings.Fields(line)); err != nil {
		return nil, usageError{err}
	}
	if err := o.takePIDs(flags.Args()); err != nil {
		return nil, err
	}
	return o, o.check()
}

func TestMistakesAreNamed(t *testing.T) {
	for _, test := range []struct {
		line string
		want string // in the error
	}{
		{"--only threads,frobnicate", `no bug class is called "frobnicate"`},
		{"--only tread", "there are threads, refs"},
		{"--pid 0", "0 is no process id"},
		{"--pid -7", "-7 is no process id"},
		{"--pid 1 --only refs", "--only leaves threads out"},
		{"--comm dockerd --only refs", "--only leaves threads out"},
		{"--refs search --jump-sites", "--refs search does not"},
		{"--refs search --sample 1/4", "of which --refs search follows none"},
		{"--refs memory", "functions, search or tracker, not \"memory\""},
		{"--follow", "--follow needs --pid or --comm"},
		{"--comm a,b,c,d,e,f,g,h,i", "at most 8 names"},
		{"--comm a,,b", "cannot be empty"},
		{"--away 0s", "--away must be more than nothing"},
		{"--duration -1s", "--duration cannot be negative"},
		{"--buffer 5000", "a power of two"},
		{"--buffer 1024", "a power of two from 4096"},
		{"--buffer 2147483648", "a power of two"},
		{"--color blue", `not "blue"`},
		{"--objects 0", "--objects must be from 1"},
		{"--avoid fentri", `no way of attaching is called "fentri"`},
		{"--nonsense", "--nonsense"},
		{"--pid x", "--pid"},
		{"dokctor", `unknown command "dokctor"`},
		{"17", `unknown command "17"`},
		{"--pid 1 seventeen", `unknown command "seventeen"`},
	} {
		_, err := parse(test.line)
		if statusOf(err) != exitUsage || !strings.Contains(err.Error(), test.want) {
			t.Errorf("netns-trace %s: %v, want a usage error with %q", test.line, err, test.want)
		}
	}
}

func TestOptions(t *testing.T) {
	all := []string{"threads", "refs", "csum", "dst"}
	for _, test := range []struct {
		line     string
		pids     []int
		only     []string
		required []string
	}{
		{line: "", only: all},
		{line: "--only csum,threads,csum", only: []string{"threads", "csum"}, required: []string{"threads", "csum"}},
		{line: "--pid 5 6 7", pids: []int{5, 6, 7}, only: all, required: []string{"threads"}}, // --pid $(pidof runc)
		{line: "-p 5,6 -p 7", pids: []int{5, 6, 7}, only: all, required: []string{"threads"}},
		{line: "--comm dockerd", only: all, required: []string{"threads"}},
		{line: "--pid 5 --only threads,refs", pids: []int{5}, only: []string{"threads", "refs"}, required: []string{"threads", "refs"}},
	} {
		o, err := parse(test.line)
		if err != nil {
			t.Errorf("netns-trace %s: %v", test.line, err)
			continue
		}
		if !slices.Equal(o.pids, test.pids) || !slices.Equal(o.only, test.only) || !slices.Equal(o.required, test.required) {
			t.Errorf("netns-trace %s: pids %v, only %v, required %v", test.line, o.pids, o.only, o.required)
		}
		if o.away != 5*time.Second || o.ringBytes != 1<<20 || o.color != "auto" || o.duration != 0 {
			t.Errorf("netns-trace %s: defaults: %+v", test.line, o)
		}
	}
}

func TestHelpKnowsEveryClass(t *testing.T) {
	for _, class := range probe.Detectors() {
		if !strings.Contains(rootLong, "\n  "+class+" ") {
			t.Errorf("--help does not say what %s looks for", class)
		}
	}
}

func TestExitStatus(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errNotRoot, 1},
		{usagef("--pid: %d is no process id", 0), 2},
		{fmt.Errorf("checking: %w", usagef("--pid")), 2},
		{errFound, 3},
		{errors.Join(errFound, nil), 3},
	} {
		if got := statusOf(test.err); got != test.want {
			t.Errorf("%v: exit status %d, want %d", test.err, got, test.want)
		}
	}
}

func TestHome(t *testing.T) {
	own, err := os.Readlink("/proc/self/ns/net") // net:[4026531840]
	if err != nil {
		t.Fatal(err)
	}
	inode, err := strconv.ParseUint(strings.Trim(strings.TrimPrefix(own, "net:"), "[]"), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		home  string
		want  uint32
		fails string
	}{
		{home: "", want: 0},
		{home: "any", want: 0},
		{home: "/proc/self/ns/net", want: uint32(inode)},
		{home: "4026532999", want: 4026532999},
		{home: file, fails: "is not a network namespace"},
		{home: "no-such-name", fails: "/run/netns/no-such-name"},
		{home: "0", fails: `no network namespace "0"`},
		{home: "4294967296", fails: `no network namespace "4294967296"`},
	} {
		got, err := (&liveOptions{home: test.home}).homeInode()
		switch {
		case test.fails == "" && (err != nil || got != test.want):
			t.Errorf("--home %s: %d, %v, want %d", test.home, got, err, test.want)
		case test.fails != "" && (statusOf(err) != exitUsage || !strings.Contains(err.Error(), test.fails)):
			t.Errorf("--home %s: %d, %v, want a usage error with %q", test.home, got, err, test.fails)
		}
	}
}
