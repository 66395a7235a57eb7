// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/netns-trace/netns-trace/pkg/budget"
)

// A budget must not leave out the last class that the user wants.
func TestDeepestStepLeavesAClass(t *testing.T) {
	for classes, want := range map[string]budget.Step{
		"threads refs csum dst": budget.NoLedgers,
		"threads csum":          budget.NoLedgers,
		"refs csum":             budget.NoPackets,
		"threads":               budget.NoStacks,
		"csum":                  budget.NoStacks,
		"refs dst":              budget.NoStacks,
	} {
		if got := deepest(strings.Fields(classes)); got != want {
			t.Errorf("%s: %s, want %s", classes, got, want)
		}
	}
}

func TestPercentage(t *testing.T) {
	for text, want := range map[string]percentage{"1%": 0.01, "0.5%": 0.005, "200%": 2, "": 0} {
		var p percentage
		if err := p.Set(text); err != nil || p != want {
			t.Errorf("%q is %v, %v", text, p, err)
		}
	}
	for _, text := range []string{"0%", "1", "-1%", "NaN%", "1e9%", "x%", "0"} {
		var p percentage
		if err := p.Set(text); err == nil {
			t.Errorf("%q was taken: %v", text, p)
		}
	}
}
