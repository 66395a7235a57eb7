// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/probe"
)

// oneIn is a flag such as 1/64: of how many one is taken. 0 is all, like 1/1.
type oneIn uint32

// n is the number under the line, at least 1.
func (o oneIn) n() uint32 { return max(1, uint32(o)) }

func (o *oneIn) String() string {
	if *o == 0 {
		return ""
	}
	return fmt.Sprintf("1/%d", *o)
}

// Type implements pflag.Value.
func (*oneIn) Type() string { return "1/N" }

// Set implements pflag.Value.
func (o *oneIn) Set(text string) error {
	if text == "" {
		*o = 0
		return nil
	}
	number, ok := strings.CutPrefix(text, "1/")
	n, err := strconv.ParseUint(number, 10, 32)
	if !ok || err != nil || n == 0 || n > probe.MaxOneIn || n&(n-1) != 0 {
		return fmt.Errorf("%q is not 1/N with a power of two from 1 to %d, such as 1/64", text, probe.MaxOneIn)
	}
	*o = oneIn(n)
	return nil
}
