// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestPrintFigures(t *testing.T) {
	one := figures{release: "6.12.117", list: []figure{
		{"udp", emptyBest, 9408, 9408, 9667},
		{"udp", "netns-trace --only csum", 9408, 9408, 9818},
		{"udp", histograms, 9408, 9408, 12294},
	}}
	two := figures{release: "6.12.117", list: []figure{
		{"udp", emptyBest, 9408, 9408, 9668},
		{"udp", "netns-trace --only csum", 9408, 9408, 9821},
		{"udp", histograms, 9408, 9408, 12294},
	}}
	for name, test := range map[string]struct {
		boots []figures
		want  string
	}{
		"one boot": {[]figures{one}, `
Linux 6.12.117

udp: one UDP packet over veth, sent and received, 9408 instructions untraced
  added  × empty  of untraced  
    259                2.75 %  empty fentry, fexit, tp_btf
    410     1.58       4.36 %  netns-trace --only csum
   2886               30.68 %  ftrace kprobe + hist
`},
		"two boots": {[]figures{one, two}, `
Linux 6.12.117

udp: one UDP packet over veth, sent and received, 9408 instructions untraced
  added  × empty  of untraced  spread  
    259                2.75 %       1  empty fentry, fexit, tp_btf
    410     1.58       4.36 %       3  netns-trace --only csum
   2886               30.68 %       0  ftrace kprobe + hist
`},
	} {
		var out strings.Builder
		if err := printFigures(&out, test.boots); err != nil || out.String() != test.want {
			t.Errorf("%s: %v\n%s", name, err, out.String())
		}
	}
}
