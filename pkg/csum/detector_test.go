// SPDX-License-Identifier: Apache-2.0

package csum

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

func rewrite(seconds float64, ifindex int32, packets uint64, final bool) record.Record {
	return &record.CsumRewrite{
		Time: record.Time(seconds * float64(time.Second)), Netns: record.NetnsID{Cookie: 1, Inode: 100},
		Packets: packets, Ifindex: ifindex, Name: fmt.Sprint("veth", ifindex), Final: final,
	}
}

func TestDetector(t *testing.T) {
	tests := []struct {
		name    string
		records []record.Record
		want    []string
	}{
		{
			"told at the first packet, then at most every ten seconds",
			[]record.Record{rewrite(1, 1, 1, false), rewrite(2, 1, 50, false), rewrite(11, 1, 900, false)},
			[]string{"opened veth1 1", "updated veth1 900"},
		},
		{
			"the last word is the kernel's count",
			[]record.Record{rewrite(1, 1, 1, false), rewrite(2, 1, 50, false), rewrite(3, 1, 77, true)},
			[]string{"opened veth1 1", "updated veth1 77"},
		},
		{
			"and is not said twice",
			[]record.Record{rewrite(1, 1, 1, false), rewrite(3, 1, 1, true)},
			[]string{"opened veth1 1"},
		},
		{
			"the records were lost, but not the count",
			[]record.Record{rewrite(3, 1, 12, true), rewrite(3, 2, 5, true)},
			[]string{"opened veth1 12", "opened veth2 5"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			known := new(finding.Knowledge)
			d := New(known)
			var got []string
			for _, r := range test.records {
				d.Observe(r, func(f *finding.Finding) {
					got = append(got, fmt.Sprintf("%s %s %d", f.State, f.Device.Name, f.Count))
				})
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}
