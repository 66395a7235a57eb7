// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestCsumFlags(t *testing.T) {
	tests := []struct {
		args        string
		every, rate uint32
		refused     string
	}{
		{"", 1, 10000, ""},
		{"--csum-every 100 --csum-rate 5", 100, 5, ""},
		{"--csum-rate 0", 1, 0, ""}, // verify none, count all
		{"--csum-every 0", 0, 0, "--csum-every must be 1 or more"},
		{"--csum-rate -1", 0, 0, "invalid argument"},
		{"--csum-rate 10k", 0, 0, "invalid argument"},
		{"--csum-rate 4294967296", 0, 0, "out of range"},
	}
	for _, test := range tests {
		o, err := parse(test.args)
		switch {
		case test.refused != "":
			if err == nil || !strings.Contains(err.Error(), test.refused) {
				t.Errorf("%q: error %v, want one with %q", test.args, err, test.refused)
			}
		case err != nil:
			t.Errorf("%q: %v", test.args, err)
		case o.csumEvery != test.every || o.csumRate != test.rate:
			t.Errorf("%q: one in %d, %d a second; want one in %d, %d", test.args, o.csumEvery, o.csumRate, test.every, test.rate)
		}
	}
}
