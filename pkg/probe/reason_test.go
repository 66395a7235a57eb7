// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
)

// Under lockdown the verifier refuses a helper; what it says of its own work behind
// that is not why.
func TestReasonIsTheVerifiersLastWordOnTheProgram(t *testing.T) {
	cause := errors.New("invalid argument")
	for _, test := range []struct {
		log  []string
		want string
	}{
		{
			[]string{"0: (85) call bpf_probe_read_kernel#113", "unknown func bpf_probe_read_kernel#113", "processed 12 insns (limit 1000000)", ""},
			"invalid argument: unknown func bpf_probe_read_kernel#113",
		},
		{[]string{"R1 type=scalar expected=ctx", "verification time 55 usec", "processed 3 insns"}, "invalid argument: R1 type=scalar expected=ctx"},
		{nil, "loading: invalid argument"},
	} {
		var err error = &ebpf.VerifierError{Cause: cause, Log: test.log}
		if test.log == nil {
			err = fmt.Errorf("loading: %w", cause)
		}
		if got := reason(err); got != test.want {
			t.Errorf("reason of %q: %q, want %q", test.log, got, test.want)
		}
	}
}
