// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// tracer is the netns-trace of a scenario.
type tracer struct {
	process *process
	took    time.Duration // from start to ready
}

// trace netns-trace [FLAG...] starts the tool and waits until it is ready. --json
// and --ready-file are added.
func (s *scene) trace(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: trace netns-trace [FLAG...]")
	}
	if s.tracer != nil {
		ts.Fatalf("netns-trace is running already")
	}
	ready := ts.MkAbs("ready")
	_ = os.Remove(ready)
	argv := s.recordToo(ts, append(args, "--json", "--ready-file", ready))
	started := time.Now()
	p, err := launch(argv, ts.MkAbs("."), environment(ts))
	ts.Check(err)
	s.tracer = &tracer{process: p}
	isReady := func() bool { _, err := os.Stat(ready); return err == nil }
	waitFor(ts, func() bool { return isReady() || p.hasExited() })
	if !isReady() {
		ts.Fatalf("netns-trace did not get ready: %v\n%s%s", p.cmd.ProcessState, p.stdout.String(), p.stderr.String())
	}
	s.tracer.took = time.Since(started)
	ts.Setenv("trace", strconv.Itoa(p.cmd.Process.Pid))
	ts.Logf("ready after %s", s.tracer.took.Round(time.Millisecond))
}

// finding [-count N | -distinct KEY N] KEY=VALUE|KEY~REGEXP... waits for a finding
// of which all that is true, or for N of them, or for N different values of KEY
// among them. Keys are paths into its JSON: class, netns.name, details.parent.tid.
// `! finding ...` holds if there is none so far.
func (s *scene) finding(ts *testscript.TestScript, neg bool, args []string) {
	want, distinct := 1, ""
	if len(args) > 3 && args[0] == "-distinct" {
		distinct, args = args[1], append([]string{"-count"}, args[2:]...)
	}
	if len(args) > 2 && args[0] == "-count" {
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		want, args = n, args[2:]
	}
	if len(args) == 0 || s.tracer == nil {
		ts.Fatalf("usage (while tracing): finding [-count N] KEY=VALUE|KEY~REGEXP...")
	}
	conditions := parseConditions(ts, args)
	count := func() int {
		n, values := 0, make(map[string]bool)
		for _, f := range s.findings(ts) {
			if all(conditions, f) {
				n++
				values[lookup(f, distinct)] = true
			}
		}
		if distinct != "" {
			return len(values)
		}
		return n
	}
	if neg {
		if count() > 0 {
			ts.Fatalf("a finding that should not be: %s\n%s", strings.Join(args, " "), s.said())
		}
		return
	}
	waitFor(ts, func() bool { return count() >= want || s.tracer.process.hasExited() })
	if n := count(); n != want {
		ts.Fatalf("%d findings with %s, want %d; netns-trace said:\n%s", n, strings.Join(args, " "), want, s.said())
	}
}

// said REGEXP waits for netns-trace to say something on standard error.
func (s *scene) saidLine(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || s.tracer == nil {
		ts.Fatalf("usage (while tracing): said REGEXP")
	}
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	p := s.tracer.process
	waitFor(ts, func() bool { return re.MatchString(p.stderr.String()) || p.hasExited() })
	if !re.MatchString(p.stderr.String()) {
		ts.Fatalf("netns-trace did not say %s:\n%s", args[0], s.said())
	}
}

// silent fails if there is any finding at all.
func (s *scene) silent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 || s.tracer == nil {
		ts.Fatalf("usage (while tracing): silent")
	}
	if found := s.findings(ts); len(found) > 0 {
		ts.Fatalf("%d findings on a healthy host:\n%s", len(found), s.said())
	}
}

// untrace STATUS [SIGNAL] ends netns-trace (SIGINT unless said otherwise; "none"
// waits for it to end by itself) and holds it to its exit status, to leaving at
// once, and to leaving nothing attached.
func (s *scene) untrace(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 || s.tracer == nil {
		ts.Fatalf("usage (while tracing): untrace STATUS [INT|TERM|HUP|KILL|none]")
	}
	p := s.tracer.process
	began := time.Now()
	switch {
	case len(args) == 2 && args[1] == "none":
		waitFor(ts, p.hasExited)
		if !p.hasExited() {
			ts.Fatalf("netns-trace does not end by itself\n%s", s.said())
		}
	default:
		sig := syscall.SIGINT
		if len(args) == 2 {
			sig = signals(ts, args[1])
		}
		ts.Check(p.end(sig, 20*time.Second))
	}
	ts.Logf("left after %s\n%s", time.Since(began).Round(time.Millisecond), s.said())
	status := strconv.Itoa(p.cmd.ProcessState.ExitCode())
	if status != args[0] {
		ts.Fatalf("netns-trace ended with status %s (%v), want %s", status, p.cmd.ProcessState, args[0])
	}
	s.tracer = nil
	ts.Setenv("summary", p.stderr.String())
	ts.Check(os.WriteFile(ts.MkAbs("summary"), []byte(p.stderr.String()), 0o644))
	ts.Check(os.WriteFile(ts.MkAbs("findings"), []byte(p.stdout.String()), 0o644))
	if s.recording != "" {
		s.replay(ts, p.stdout.String(), p.cmd.ProcessState.ExitCode())
	}
}

func (s *scene) said() string {
	return s.tracer.process.stdout.String() + s.tracer.process.stderr.String()
}

func (s *scene) findings(ts *testscript.TestScript) []map[string]any {
	return parseFindings(ts, s.tracer.process.stdout.String())
}

func parseFindings(ts *testscript.TestScript, text string) []map[string]any {
	var out []map[string]any
	text = text[:strings.LastIndexByte(text, '\n')+1] // the last line may still be growing
	for line := range strings.Lines(text) {
		var f map[string]any
		dec := json.NewDecoder(strings.NewReader(line))
		dec.UseNumber() // inode numbers and cookies stay as they are written
		if err := dec.Decode(&f); err != nil {
			ts.Fatalf("not a finding in JSON: %v: %s", err, line)
		}
		out = append(out, f)
	}
	return out
}

type condition struct {
	path  string
	value string
	re    *regexp.Regexp
}

func parseConditions(ts *testscript.TestScript, args []string) []condition {
	var out []condition
	for _, arg := range args {
		at := strings.IndexAny(arg, "=~")
		if at < 1 {
			ts.Fatalf("not KEY=VALUE or KEY~REGEXP: %s", arg)
		}
		c := condition{path: arg[:at], value: arg[at+1:]}
		if arg[at] == '~' {
			re, err := regexp.Compile(c.value)
			ts.Check(err)
			c.re = re
		}
		out = append(out, c)
	}
	return out
}

func all(conditions []condition, f map[string]any) bool {
	for _, c := range conditions {
		text := lookup(f, c.path)
		if c.re != nil && !c.re.MatchString(text) || c.re == nil && text != c.value {
			return false
		}
	}
	return true
}

// lookup gives the text at a path such as details.parent.tid; "" if there is none.
func lookup(f map[string]any, path string) string {
	var v any = f
	for key := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}
