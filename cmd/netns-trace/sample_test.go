// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestSampleFlag(t *testing.T) {
	for text, want := range map[string]uint32{"1/64": 64, "1/1": 1, "": 1, "1/65536": 65536} {
		var o oneIn
		if err := o.Set(text); err != nil || o.n() != want || o.String() != text {
			t.Errorf("%q is one in %d, %q, %v", text, o.n(), o.String(), err)
		}
	}
	// Rates that are no power of two would not lie in one another.
	for _, text := range []string{"64", "1/0", "1/3", "2/64", "1/", "1/-2", "1/131072", "1/1.5", "1/64 "} {
		var o oneIn
		if err := o.Set(text); err == nil {
			t.Errorf("%q was taken: one in %d", text, o.n())
		}
	}
}
