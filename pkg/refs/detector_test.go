// SPDX-License-Identifier: Apache-2.0

package refs

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netns-trace/netns-trace/pkg/finding"
	"github.com/netns-trace/netns-trace/pkg/record"
)

var host = record.NetnsID{Cookie: 1, Inode: 100}

func at(seconds float64) record.Time { return record.Time(seconds * float64(time.Second)) }

func wait(t float64, dev uint64, name string, count int32) record.Record {
	return &record.DevWait{
		Time: at(t), Dev: dev, Since: uint64(at(1)), Netns: host,
		Refcount: count, RefcountKnown: true, Ifindex: 7, Name: name,
	}
}

func told(base int32, records ...record.Record) (out []string, all []*finding.Finding) {
	known := new(finding.Knowledge)
	d := New(known)
	setup := &record.Setup{RefcountBase: base, RefcountBaseKnown: base >= 0}
	for _, r := range append([]record.Record{setup}, records...) {
		known.Observe(r)
		d.Observe(r, func(f *finding.Finding) {
			out = append(out, fmt.Sprintf("%s %s %d", f.Kind, f.Device.Name, f.Count))
			all = append(all, f)
		})
	}
	return out, all
}

func TestDetector(t *testing.T) {
	tests := []struct {
		name    string
		base    int32
		records []record.Record
		want    []string
	}{
		{
			"one leaked reference is a usage count of 2 since 5.13", 1,
			[]record.Record{wait(2, 1, "veth1", 2), wait(3, 1, "veth1", 2)},
			[]string{"waiting veth1 1"},
		},
		{
			"and of 1 before", 0,
			[]record.Record{wait(2, 1, "veth1", 1)},
			[]string{"waiting veth1 1"},
		},
		{
			"where it counts from is not known: the kernel's own number", -1,
			[]record.Record{wait(2, 1, "veth1", 2)},
			[]string{"waiting veth1 2"},
		},
		{
			"one put too many", 1,
			[]record.Record{wait(2, 1, "veth1", 0)},
			[]string{"waiting veth1 -1"},
		},
		{
			"it is freed at last", 1,
			[]record.Record{
				wait(2, 1, "veth1", 2),
				&record.DevFree{Time: at(9), Dev: 1, Since: uint64(at(1)), Netns: host, Name: "veth1"},
			},
			[]string{"waiting veth1 1", "released veth1 0"},
		},
		{
			"its end was not seen, but the kernel no longer speaks of it", 1,
			[]record.Record{wait(2, 1, "veth1", 2), &record.Tick{Time: at(11)}, wait(11.5, 1, "veth1", 2), &record.Tick{Time: at(30)}},
			[]string{"waiting veth1 1", "released veth1 0"},
		},
		{
			"two devices of one name, in two namespaces", 1,
			[]record.Record{wait(2, 1, "eth0", 2), wait(2, 2, "eth0", 3)},
			[]string{"waiting eth0 1", "waiting eth0 2"},
		},
		{
			"only the message tells", 1,
			[]record.Record{
				&record.ConsoleWait{Time: at(12), Text: "[  123.456789] unregister_netdevice: waiting for lo to become free. Usage count = 3\n"},
				&record.ConsoleWait{Time: at(22), Text: "unregister_netdevice: waiting for lo to become free. Usage count = 3"},
				&record.Tick{Time: at(40)}, &record.Tick{Time: at(60)},
			},
			[]string{"waiting lo 2", "released lo 0"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, all := told(test.base, test.records...)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			if first, last := all[0], all[len(all)-1]; last.State == finding.Closed && first.ID != last.ID {
				t.Errorf("opened as %s, closed as %s", first.ID, last.ID)
			}
		})
	}
}

func TestParseMessage(t *testing.T) {
	for _, test := range []struct {
		text  string
		name  string
		count int32
		ok    bool
	}{
		{"unregister_netdevice: waiting for veth1 to become free. Usage count = 1", "veth1", 1, true},
		{"[12345.678901] unregister_netdevice: waiting for lo to become free. Usage count = -2\n", "lo", -2, true},
		{"unregister_netdevice: waiting for br-9a:1 to become free. Usage count = 12 ref_tracker", "br-9a:1", 12, true},
		{"unregister_netdevice: waiting for  to become free. Usage count = 1", "", 0, false},
		{"unregister_netdevice: waiting for veth1 to become free. Usage count = many", "", 0, false},
		{"unregister_netdevice: waiting for veth1 to bec", "", 0, false},
		{"veth1: left promiscuous mode", "", 0, false},
	} {
		name, count, ok := parseMessage(test.text)
		if name != test.name || count != test.count || ok != test.ok {
			t.Errorf("%q: %q %d %v", test.text, name, count, ok)
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	f.Add("unregister_netdevice: waiting for veth1 to become free. Usage count = 1")
	f.Add("[1.2] unregister_netdevice: waiting for  to become free. Usage count = --")
	f.Fuzz(func(t *testing.T, text string) {
		if name, _, ok := parseMessage(text); ok && name == "" {
			t.Error("a device without a name")
		}
	})
}
