// SPDX-License-Identifier: Apache-2.0

package incident

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netns-trace/netns-trace/pkg/finding"
)

func at(s int) time.Time { return time.Unix(int64(s), 0) }

// found makes a finding; each test changes what it is about.
func found(id string, state finding.State, s int, class finding.Class, kind string) *finding.Finding {
	return &finding.Finding{ID: id, State: state, Class: class, Kind: kind, Time: at(s), Count: 1}
}

func waiting(id string, state finding.State, s int, device string) *finding.Finding {
	f := found(id, state, s, finding.Refs, "waiting")
	f.Device = &finding.Device{Name: device}
	return f
}

// told is what a book emits, one word an event.
func told(o Options, do func(*Book)) []string {
	var out []string
	do(NewBook(o, func(e *Event) {
		out = append(out, fmt.Sprintf("%s count=%d open=%d added=%d", e.Change, e.Incident.Count, e.Incident.Open, e.Added))
	}))
	return out
}

func TestBook(t *testing.T) {
	for _, test := range []struct {
		name    string
		options Options
		do      func(*Book)
		want    []string
	}{
		{
			name: "a device that waits, is told again, and is freed; the end is told when it has settled",
			do: func(b *Book) {
				b.Observe(waiting("1", finding.Opened, 0, "veth1"))
				b.Observe(waiting("1", finding.Updated, 10, "veth1"))
				b.Observe(waiting("1", finding.Closed, 20, "veth1"))
				b.Tick(at(79))
				b.Tick(at(80))
			},
			want: []string{
				"opened count=1 open=1 added=1", "updated count=1 open=1 added=0", "updated count=1 open=0 added=0",
				"ended count=1 open=0 added=0",
			},
		},
		{
			name: "the clock is set an hour forward, and back: neither ends it early or late",
			do: func(b *Book) {
				b.Observe(waiting("1", finding.Opened, 0, "veth1"))
				b.Observe(waiting("1", finding.Closed, 20, "veth1"))
				b.Shift(time.Hour)
				b.Tick(at(3600 + 79))
				b.Shift(-2 * time.Hour)
				b.Tick(at(80 - 3600))
			},
			want: []string{"opened count=1 open=1 added=1", "updated count=1 open=0 added=0", "ended count=1 open=0 added=0"},
		},
		{
			name: "a hundred containers with the same leak are one incident",
			do: func(b *Book) {
				b.Observe(waiting("1", finding.Opened, 0, "veth1"))
				b.Observe(waiting("2", finding.Opened, 1, "vethab12"))
				b.Observe(waiting("1", finding.Closed, 2, "veth1"))
				b.Tick(at(3600)) // one still waits
				b.Observe(waiting("2", finding.Closed, 3601, "vethab12"))
				b.Tick(at(3700))
			},
			want: []string{
				"opened count=1 open=1 added=1", "repeated count=2 open=2 added=1", "updated count=2 open=1 added=0",
				"updated count=2 open=0 added=0", "ended count=2 open=0 added=0",
			},
		},
		{
			name: "the same again before it has settled does not begin anew",
			do: func(b *Book) {
				b.Observe(waiting("1", finding.Opened, 0, "veth1"))
				b.Observe(waiting("1", finding.Closed, 1, "veth1"))
				b.Tick(at(30))
				b.Observe(waiting("2", finding.Opened, 31, "veth2"))
				b.Tick(at(90))
			},
			want: []string{"opened count=1 open=1 added=1", "updated count=1 open=0 added=0", "repeated count=2 open=1 added=1"},
		},
		{
			name: "packets have no end: silence is",
			do: func(b *Book) {
				f := found("1", finding.Opened, 0, finding.Csum, "rewrite")
				b.Observe(f)
				more := *f
				more.State, more.Count, more.Time = finding.Updated, 40, at(100)
				b.Observe(&more)
				b.Tick(at(600))
				b.Tick(at(700))
			},
			want: []string{"opened count=1 open=1 added=1", "updated count=1 open=1 added=39", "ended count=1 open=0 added=0"},
		},
		{
			name:    "there is room for one incident only",
			options: Options{MaxIncidents: 1},
			do: func(b *Book) {
				b.Observe(waiting("1", finding.Opened, 0, "veth1"))
				b.Observe(waiting("2", finding.Opened, 0, "br0"))
			},
			want: []string{"opened count=1 open=1 added=1", "overflow count=1 open=0 added=1"},
		},
		{
			name:    "ids that there is no room for: the end is not seen, so silence is",
			options: Options{MaxFindings: 1},
			do: func(b *Book) {
				b.Observe(waiting("1", finding.Opened, 0, "veth1"))
				b.Observe(waiting("2", finding.Opened, 0, "veth2"))
				b.Observe(waiting("1", finding.Closed, 1, "veth1"))
				b.Tick(at(600))
				b.Tick(at(601))
			},
			want: []string{
				"opened count=1 open=1 added=1", "repeated count=2 open=1 added=1", "updated count=2 open=0 added=0",
				"ended count=2 open=0 added=0",
			},
		},
		{
			name: "tracing starts anew, and one of two is still so",
			do: func(b *Book) {
				b.Observe(waiting("1", finding.Opened, 0, "veth1"))
				b.Observe(waiting("2", finding.Opened, 0, "br0"))
				b.Restart()
				b.Observe(waiting("3", finding.Opened, 5, "veth1"))
				b.Tick(at(61))
			},
			want: []string{
				"opened count=1 open=1 added=1", "opened count=1 open=1 added=1", "repeated count=2 open=1 added=1",
				"ended count=1 open=0 added=0",
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, told(test.options, test.do)); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
		})
	}
}

// A flood takes no more room than the bounds.
func TestBookIsBounded(t *testing.T) {
	overflows := 0
	b := NewBook(Options{}, func(e *Event) {
		if e.Change == Overflow {
			overflows++
		}
	})
	for i := range 100_000 {
		f := found(fmt.Sprint(i), finding.Opened, i, finding.Dst, "alloc-failure")
		f.Stack = []string{fmt.Sprintf("function%d+0x1/0x2", i%3000)}
		b.Observe(f)
	}
	if len(b.incidents) > 1024 || len(b.followed) > 16384 || overflows == 0 {
		t.Errorf("%d incidents, %d ids, %d did not fit", len(b.incidents), len(b.followed), overflows)
	}
}

func TestSignature(t *testing.T) {
	base := func() *finding.Finding {
		f := waiting("1", finding.Opened, 0, "veth1")
		f.Stack = []string{"dst_alloc+0x4e/0x140", "ip6_dst_alloc+0x21/0x60 [ipv6]"}
		return f
	}
	want := Signature(base(), "6.12.1")
	for name, change := range map[string]func(*finding.Finding){
		"another device of its kind": func(f *finding.Finding) { f.Device.Name = "vethffff" },
		"another offset":             func(f *finding.Finding) { f.Stack[0] = "dst_alloc+0x50/0x140" },
		"another process and time": func(f *finding.Finding) {
			f.Process, f.Time, f.ID = &finding.Process{PID: 7}, at(9), "9"
		},
	} {
		f := base()
		change(f)
		if got := Signature(f, "6.12.1"); got != want {
			t.Errorf("%s: another signature", name)
		}
	}
	for name, change := range map[string]func(*finding.Finding){
		"another kind of device":  func(f *finding.Finding) { f.Device.Name = "br0" },
		"another function":        func(f *finding.Finding) { f.Stack[0] = "dst_init+0x4e/0x140" },
		"another kind":            func(f *finding.Finding) { f.Kind = "holder" },
		"held by something else":  func(f *finding.Finding) { f.Details = map[string]any{"family": "neighbour"} },
		"the same name in module": func(f *finding.Finding) { f.Stack[1] = "ip6_dst_alloc+0x21/0x60 [other]" },
	} {
		f := base()
		change(f)
		if got := Signature(f, "6.12.1"); got == want {
			t.Errorf("%s: the same signature", name)
		}
	}
	if Signature(base(), "6.1.0") == want {
		t.Error("another kernel: the same signature")
	}
}

func TestDeviceKind(t *testing.T) {
	for name, want := range map[string]string{
		"veth12ab": "veth", "lo": "loopback", "br-1f2e": "bridge", "docker0": "bridge", "eth0": "ethernet", "enp3s0": "ethernet",
		"eth0.100": "vlan", "vxlan.calico": "vlan", "macvlan0": "macvlan", "": "other", ".x": "other", "strange": "other",
	} {
		if got := DeviceKind(name); got != want || !slices.Contains(DeviceKinds(), got) {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
}
