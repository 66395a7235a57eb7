// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"testing"

	"github.com/netns-trace/netns-trace/pkg/record"
)

func TestAStackIsNamedOnceASecond(t *testing.T) {
	const second = 1_000_000_000
	n := &Namer{named: newNamedStacks()}
	here, there := record.Stacks{Kernel: []uint64{1, 2}, User: []uint64{3}}, record.Stacks{Kernel: []uint64{1}, User: []uint64{2, 3}}
	for _, step := range []struct {
		what string
		tgid uint32
		s    *record.Stacks
		at   record.Time
		want bool
	}{
		{"the first time", 7, &here, 1, false},
		{"the same again", 7, &here, second, true},
		{"another of the same addresses", 7, &there, second, false},
		{"another process's", 8, &here, second, false},
		{"a second later", 7, &here, second + 1, false},
		{"and again", 7, &here, second + 2, true},
	} {
		if got := n.named.again(step.tgid, step.s, step.at); got != step.want {
			t.Errorf("%s: named already %v, want %v", step.what, got, step.want)
		}
	}
	for _, rec := range []record.Record{&record.Process{Event: record.ProcessExec}, &record.ModuleLoad{Name: "veth"}} {
		n.Names(rec)
		if n.named.again(7, &here, second+3) {
			t.Errorf("after %T its names are taken to be the same", rec)
		}
	}
}

func TestABusyProcessIsAskedForItsContainerOnceASecond(t *testing.T) {
	const second = 1_000_000_000
	a := make(askedProcesses)
	for n := range record.Time(askedOften) {
		if a.enough(7, n) {
			t.Fatalf("asked %d times, it is not asked again", n)
		}
	}
	for _, step := range []struct {
		tgid uint32
		at   record.Time
		want bool
	}{{7, second / 2, true}, {8, second / 2, false}, {7, second + askedOften, false}, {7, second + 2*askedOften, true}} {
		if got := a.enough(step.tgid, step.at); got != step.want {
			t.Errorf("process %d at %d: enough is %v, want %v", step.tgid, step.at, got, step.want)
		}
	}
}
