// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// event is a line of go test -json; see "go doc test2json".
type event struct {
	Action  string
	Package string
	Test    string
	Elapsed float64 // s
	Output  string
}

// report turns events into lines.
type report struct {
	w        io.Writer
	each     bool
	packages map[string]*packageRun
}

// packageRun is what is known of one package's tests.
type packageRun struct {
	tests map[string]*testRun // that have begun and not passed; "" is the package itself
	names []string            // of those, in the order in which they began
	skips []skip
	// midline: a long line comes as several events, and this one is not at its end.
	midline bool
}

type testRun struct {
	output []string
	parent bool // it has subtests
}

type skip struct {
	reason string
	tests  []string
}

func newReport(w io.Writer) *report { return &report{w: w, packages: make(map[string]*packageRun)} }

// read takes events until there are no more. Lines that are none are passed on:
// they are the go command's own.
func (r *report) read(events io.Reader) error {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil || e.Action == "" {
				fmt.Fprintf(r.w, "%s", line)
			} else {
				r.take(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading its events: %w", err)
		}
	}
}

func (r *report) take(e event) {
	if e.Action == "build-output" {
		fmt.Fprint(r.w, e.Output)
		return
	}
	if e.Package == "" {
		return
	}
	p := r.packages[e.Package]
	if p == nil {
		p = &packageRun{tests: make(map[string]*testRun)}
		r.packages[e.Package] = p
	}
	t := p.test(e.Test)
	switch e.Action {
	case "output":
		t.output = append(t.output, e.Output)
		if r.each && !p.midline && isProgress(e.Output) {
			fmt.Fprint(r.w, e.Output)
		}
		p.midline = !strings.HasSuffix(e.Output, "\n")
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(p, e)
		} else {
			r.endTest(p, t, e)
		}
	}
}

// test is the run of that name; a new one makes those that it belongs to parents.
func (p *packageRun) test(name string) *testRun {
	t := p.tests[name]
	if t == nil {
		t = new(testRun)
		p.tests[name] = t
		p.names = append(p.names, name)
		for at := strings.LastIndexByte(name, '/'); at > 0; at = strings.LastIndexByte(name[:at], '/') {
			if parent := p.tests[name[:at]]; parent != nil {
				parent.parent = true
			}
		}
	}
	return t
}

func (r *report) endTest(p *packageRun, t *testRun, e event) {
	if r.each && !t.parent {
		word := map[string]string{"pass": "ok", "fail": "FAILED", "skip": "skipped"}[e.Action]
		fmt.Fprintf(r.w, "%s %s %s\n", short(e.Test), word, seconds(e.Elapsed))
	}
	if e.Action == "skip" {
		p.skipped(e.Test, reason(t.output))
	}
	if e.Action != "fail" { // of what fails the output is wanted at the end
		delete(p.tests, e.Test)
		p.names = slices.DeleteFunc(p.names, func(name string) bool { return name == e.Test })
	}
}

func (r *report) endPackage(p *packageRun, e event) {
	if e.Action == "skip" { // it has no tests
		return
	}
	word := "ok    "
	if e.Action == "fail" {
		word = "FAILED"
		for _, name := range p.names {
			r.show(p.tests[name].output)
		}
	}
	fmt.Fprintf(r.w, "%s %s %s\n", word, e.Package, seconds(e.Elapsed))
	for _, s := range p.skips {
		what := s.tests[0]
		if len(s.tests) > 1 {
			what = fmt.Sprintf("%d tests", len(s.tests))
		}
		fmt.Fprintf(r.w, "       skipped %s: %s\n", what, s.reason)
	}
	delete(r.packages, e.Package)
}

// show prints output without what the last line of the package says as well.
func (r *report) show(output []string) {
	for _, line := range output {
		if !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "FAIL") {
			fmt.Fprint(r.w, line)
		}
	}
}

func (p *packageRun) skipped(test, why string) {
	at := slices.IndexFunc(p.skips, func(s skip) bool { return s.reason == why })
	if at < 0 {
		at = len(p.skips)
		p.skips = append(p.skips, skip{reason: why})
	}
	p.skips[at].tests = append(p.skips[at].tests, test)
}

// reason is what a skipped test logged last, which is what it gave to Skip.
func reason(output []string) string {
	for _, line := range slices.Backward(output) {
		if strings.HasPrefix(line, "    ") { // "    file.go:12: the reason"
			if _, text, ok := strings.Cut(line, ".go:"); ok {
				_, text, _ = strings.Cut(text, ": ")
				return strings.TrimPrefix(strings.TrimSpace(text), "skipping: ")
			}
		}
	}
	return "no reason given"
}

// short is a subtest's name without the function's, in words.
func short(test string) string {
	if _, sub, ok := strings.Cut(test, "/"); ok {
		return strings.ReplaceAll(sub, "/", " ")
	}
	return test
}

// isProgress reports whether a line is one that a test wrote to its output itself.
// What it logged is indented; the rest are the testing package's.
func isProgress(line string) bool {
	for _, prefix := range []string{" ", "\t", "=== ", "--- ", "PASS\n", "FAIL", "ok  \t", "exit status ", "panic: "} {
		if strings.HasPrefix(line, prefix) {
			return false
		}
	}
	return strings.TrimSpace(line) != ""
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(100 * time.Millisecond).String()
}
