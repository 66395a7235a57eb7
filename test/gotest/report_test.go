// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	for _, test := range []struct {
		name   string
		each   bool
		events string
		want   string
	}{
		{
			name: "a scenario of one kernel has its line when it ends, its parents have none",
			each: true,
			events: `{"Action":"start","Package":"m/s"}
{"Action":"run","Package":"m/s","Test":"TestScenarios"}
{"Action":"output","Package":"m/s","Test":"TestScenarios","Output":"=== RUN   TestScenarios\n"}
{"Action":"output","Package":"m/s","Test":"TestScenarios","Output":"kernel 6.12: fetching\n"}
{"Action":"run","Package":"m/s","Test":"TestScenarios/6.12"}
{"Action":"run","Package":"m/s","Test":"TestScenarios/6.12/harm"}
{"Action":"output","Package":"m/s","Test":"TestScenarios/6.12/harm","Output":"    a_test.go:7: said mu"}
{"Action":"output","Package":"m/s","Test":"TestScenarios/6.12/harm","Output":"ch\n"}
{"Action":"pass","Package":"m/s","Test":"TestScenarios/6.12/harm","Elapsed":14.02}
{"Action":"pass","Package":"m/s","Test":"TestScenarios/6.12","Elapsed":14.1}
{"Action":"pass","Package":"m/s","Test":"TestScenarios","Elapsed":14.1}
{"Action":"output","Package":"m/s","Output":"PASS\n"}
{"Action":"pass","Package":"m/s","Elapsed":14.3}
`,
			want: "kernel 6.12: fetching\n6.12 harm ok 14s\nok     m/s 14.3s\n",
		},
		{
			name: "equal reasons are told once; packages without tests are not",
			events: `{"Action":"output","Package":"m/a","Test":"TestX","Output":"    a_test.go:7: skipping: no gcc: not found\n"}
{"Action":"output","Package":"m/a","Test":"TestX","Output":"--- SKIP: TestX (0.00s)\n"}
{"Action":"skip","Package":"m/a","Test":"TestX"}
{"Action":"output","Package":"m/a","Test":"TestY","Output":"    a_test.go:9: boots\n"}
{"Action":"skip","Package":"m/a","Test":"TestY"}
{"Action":"output","Package":"m/a","Test":"TestZ","Output":"    a_test.go:9: boots\n"}
{"Action":"skip","Package":"m/a","Test":"TestZ"}
{"Action":"pass","Package":"m/a","Elapsed":0.31}
{"Action":"skip","Package":"m/none"}
`,
			want: "ok     m/a 300ms\n       skipped TestX: no gcc: not found\n       skipped 2 tests: boots\n",
		},
		{
			name: "of what fails everything is shown, of what passed beside it nothing",
			events: `{"Action":"output","Package":"m/a","Test":"TestGood","Output":"    a_test.go:1: fine\n"}
{"Action":"pass","Package":"m/a","Test":"TestGood"}
{"Action":"output","Package":"m/a","Test":"TestBad","Output":"=== RUN   TestBad\n"}
{"Action":"output","Package":"m/a","Test":"TestBad","Output":"    a_test.go:3: broken\n"}
{"Action":"fail","Package":"m/a","Test":"TestBad"}
{"Action":"output","Package":"m/a","Output":"FAIL\n"}
{"Action":"fail","Package":"m/a","Elapsed":1}
`,
			want: "    a_test.go:3: broken\nFAILED m/a 1s\n",
		},
		{
			name: "a test binary that dies takes a test with it that never ended",
			events: `{"Action":"run","Package":"m/a","Test":"TestHangs"}
{"Action":"output","Package":"m/a","Test":"TestHangs","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"m/a","Elapsed":60}
`,
			want: "panic: test timed out\nFAILED m/a 1m0s\n",
		},
		{
			name: "what does not compile is said",
			events: `{"ImportPath":"m/a","Action":"build-output","Output":"a.go:1: syntax error\n"}
{"ImportPath":"m/a","Action":"build-fail"}
{"Action":"fail","Package":"m/a","FailedBuild":"m/a"}
`,
			want: "a.go:1: syntax error\nFAILED m/a 0s\n",
		},
		{
			name:   "what is no event is the go command's own",
			events: "go: cannot find main module\n{\"n\":1}\n",
			want:   "go: cannot find main module\n{\"n\":1}\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			r := newReport(&out)
			r.each = test.each
			if err := r.read(strings.NewReader(test.events)); err != nil {
				t.Fatal(err)
			}
			if out.String() != test.want {
				t.Errorf("got\n%s\nwant\n%s", &out, test.want)
			}
		})
	}
}
