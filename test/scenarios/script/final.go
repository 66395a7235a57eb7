// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// final KEY=VALUE|KEY~REGEXP... holds, after untrace, if there is exactly one incident
// whose last finding has all that. `! final ...` holds if there is none.
func (s *scene) final(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 || s.tracer != nil {
		ts.Fatalf("usage (after untrace): final KEY=VALUE|KEY~REGEXP...")
	}
	text, err := os.ReadFile(ts.MkAbs("findings"))
	ts.Check(err)
	last := make(map[string]map[string]any)
	for _, f := range parseFindings(ts, string(text)) {
		last[lookup(f, "id")] = f
	}
	conditions, n := parseConditions(ts, args), 0
	for _, f := range last {
		if all(conditions, f) {
			n++
		}
	}
	want := 1
	if neg {
		want = 0
	}
	if n != want {
		ts.Fatalf("%d incidents end with %s, want %d", n, strings.Join(args, " "), want)
	}
}
