// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"testing"
)

func TestEnvironmentHasEachNameOnce(t *testing.T) {
	env := environment([]string{"PATH=/mine", "A=b"})
	for _, want := range []string{"PATH=/mine", "A=b", "HOME=/root", "TERM=linux"} {
		if !slices.Contains(env, want) {
			t.Errorf("no %s in %q", want, env)
		}
	}
	seen := 0
	for _, entry := range env {
		if len(entry) > 5 && entry[:5] == "PATH=" {
			seen++
		}
	}
	if seen != 1 {
		t.Errorf("PATH is there %d times: %q", seen, env)
	}
}
