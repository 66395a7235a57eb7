// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"math"
	"testing"
)

func TestPerOperation(t *testing.T) {
	for name, test := range map[string]struct {
		output string
		want   float64
	}{
		"an odd number of windows":          {"ops 2000\n3000\n5000\n90000\n", 2.5},
		"an even number":                    {"ops 10\n10\n20\n40\n1000\n", 3},
		"one window disturbed by a tick":    {"ops 1\n7\n7\n7\n1000000\n7\n", 7},
		"the order of windows is no matter": {"ops 1\n9\n1\n5\n", 5},
	} {
		if got, err := perOperation(test.output, 0.5); err != nil || got != test.want {
			t.Errorf("%s: %v, %v; want %v", name, got, err, test.want)
		}
	}
	for name, output := range map[string]string{
		"nothing": "", "no window": "ops 2000\n", "no operations": "ops 0\n1\n",
		"a message": "ops: setns: Operation not permitted\n", "a negative window": "ops 1\n-4\n",
	} {
		if got, err := perOperation(output, 0.5); !errors.Is(err, errOutput) {
			t.Errorf("%s: %v, %v; want an error", name, got, err)
		}
	}
}

func FuzzPerOperation(f *testing.F) {
	f.Add("ops 2000\n16789109\n16789097\n")
	f.Add("ops 0\n1\n")
	f.Fuzz(func(t *testing.T, output string) {
		if n, err := perOperation(output, 0.5); err == nil && (math.IsNaN(n) || math.IsInf(n, 0) || n < 0) {
			t.Errorf("%q gives %v", output, n)
		}
	})
}

// In every fourth life the kernel cleans up what was left of others too: that is not
// what a life costs.
func TestLowerQuartileLeavesOutDearWindows(t *testing.T) {
	output := "ops 1\n2868\n3024\n2866\n3710\n2867\n3025\n2869\n2870\n3586\n"
	if got, err := perOperation(output, 0.25); err != nil || got != 2868 {
		t.Errorf("%v, %v; want 2868", got, err)
	}
	if got := quantile([]float64{4, 1}, 0.25); got != 1.75 {
		t.Errorf("between two: %v, want 1.75", got)
	}
}

// The untraced path may be longer after than before: the mean of both is what the
// traced one is compared with.
func TestAddedIsAboveTheMeanOfBeforeAndAfter(t *testing.T) {
	f := figure{before: 1000, traced: 1106, after: 1012}
	if f.added() != 100 || f.untraced() != 1006 {
		t.Errorf("added %v to %v, want 100 to 1006", f.added(), f.untraced())
	}
	if got := f.remains(); math.Abs(got-0.012) > 1e-9 {
		t.Errorf("remains %v, want 0.012", got)
	}
}

func TestSpreadIsOfWhatIsAdded(t *testing.T) {
	boot := func(untraced, traced float64) figures {
		return figures{list: []figure{{"udp", "x", untraced, untraced, traced}}}
	}
	// The third boot is slower by itself; tracing adds as much as in the others.
	if got := spread([]figures{boot(1000, 1100), boot(1000, 1103), boot(1050, 1151)}, "udp", "x"); got != 3 {
		t.Errorf("spread %v, want 3", got)
	}
}
