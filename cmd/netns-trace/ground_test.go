// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/netns-trace/netns-trace/pkg/kernel"
	"github.com/netns-trace/netns-trace/pkg/probe"
)

// What a host lacks is told in words that say what to do. No kernel of the lab lacks
// types or the ring buffer.
func TestGround(t *testing.T) {
	root := kernel.Capabilities{Held: []string{"CAP_SYS_ADMIN"}}
	for _, test := range []struct {
		name string
		ground
		want []string // in the error; nil: there is none
	}{
		{name: "root on the host", ground: ground{root, true, kernel.LockdownNone, nil, true}},
		{
			name:   "two capabilities are enough",
			ground: ground{kernel.Capabilities{Held: []string{"CAP_BPF", "CAP_PERFMON"}}, true, "", nil, true},
		},
		{
			name:   "one of the two is not",
			ground: ground{kernel.Capabilities{Held: []string{"CAP_BPF"}}, true, "", nil, true},
			want:   []string{"tracing needs root", "CAP_PERFMON", "sudo"},
		},
		{name: "a container", ground: ground{root, false, "", nil, true}, want: []string{"docker run --pid=host"}},
		{name: "lockdown that still lets BPF read", ground: ground{root, true, kernel.LockdownIntegrity, nil, true}},
		{
			name:   "lockdown that does not",
			ground: ground{root, true, kernel.LockdownConfidentiality, nil, true},
			want:   []string{"may not read its memory", "boot it without lockdown=confidentiality"},
		},
		{
			name:   "a kernel built without BTF, or /sys not mounted",
			ground: ground{root, true, "", &fs.PathError{Op: "stat", Path: "/sys/kernel/btf/vmlinux", Err: fs.ErrNotExist}, true},
			want:   []string{"does not describe its own types", "/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF=y", "is /sys mounted?"},
		},
		{
			name:   "a kernel before 5.8",
			ground: ground{root, true, "", nil, false},
			want:   []string{"no BPF ring buffer", "Linux 5.8"},
		},
	} {
		err := test.check()
		if test.want == nil && err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		for _, want := range test.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want an error with %q", test.name, err, want)
			}
		}
		if usage := (usageError{}); errors.As(err, &usage) {
			t.Errorf("%s: the kernel's lack is told as a mistake in what was typed", test.name)
		}
	}
}

func TestHiddenSymbols(t *testing.T) {
	threads, refs, csum := probe.DetectorThreads, probe.DetectorRefs, probe.DetectorCsum
	for _, test := range []struct {
		name      string
		access    kernel.SymbolAccess
		detectors []string
		want      string // the end of the note
	}{
		{"shown", kernel.SymbolsReadable, []string{threads, refs}, ""},
		{"stacks of threads", kernel.SymbolsHidden, []string{threads}, ": kernel stacks have no names"},
		{"the count of references", kernel.SymbolsHidden, []string{refs}, ": references cannot be counted"},
		{"both", kernel.SymbolsHidden, []string{threads, refs}, ": kernel stacks have no names, references cannot be counted"},
		{"csum shows no stack", kernel.SymbolsHidden, []string{csum}, ""},
	} {
		got := system{access: test.access}.hidden(test.detectors)
		if !strings.HasSuffix(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%s: %q, want %q at the end", test.name, got, test.want)
		}
		if got != "" && !strings.Contains(got, "sysctl kernel.kptr_restrict") {
			t.Errorf("%s: %q does not say how to show them", test.name, got)
		}
	}
}
