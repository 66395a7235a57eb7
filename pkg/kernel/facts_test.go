// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// outcome is what a parser made of a text: the value printed, or "error".
func outcome[T any](v T, err error) string {
	if err != nil {
		return "error"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "error"
	}
	return string(b)
}

func TestParsers(t *testing.T) {
	mountinfo := `21 28 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
25 21 0:7 / /sys/kernel/debug rw,nosuid shared:11 - debugfs debugfs rw
26 25 0:12 / /sys/kernel/debug/tracing rw,nosuid shared:12 - tracefs tracefs rw
27 21 0:12 / /sys/kernel/tracing rw,nosuid shared:13 - tracefs tracefs rw
`
	for _, tc := range []struct {
		what, got, want string
	}{
		{"lockdown off", outcome(parseLockdown("[none] integrity confidentiality")), `"none"`},
		{"secure boot", outcome(parseLockdown("none [integrity] confidentiality")), `"integrity"`},
		{"strict", outcome(parseLockdown("none integrity [confidentiality]")), `"confidentiality"`},
		{"no level chosen", outcome(parseLockdown("none integrity confidentiality")), "error"},
		{"a level of the future", outcome(parseLockdown("none [total]")), "error"},
		{"empty lockdown file", outcome(parseLockdown("")), "error"},

		{"4 CPUs", outcome(parseCPUList("0-3")), "4"},
		{"one CPU", outcome(parseCPUList("0")), "1"},
		{"holes count: arrays are indexed by number", outcome(parseCPUList("0-1,6-7")), "8"},
		{"reversed", outcome(parseCPUList("3-0")), "error"},
		{"no list", outcome(parseCPUList("")), "error"},
		{"absurd CPU number", outcome(parseCPUList("0-99999999999")), "error"},

		{"netns link", outcome(parseNamespaceLink("net:[4026531840]")), "4026531840"},
		{"socket link", outcome(parseNamespaceLink("socket:[1")), "error"},
		{"no brackets", outcome(parseNamespaceLink("net")), "error"},

		{"CapEff", outcome(parseCapEff("Name:\tntrace\nCapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\n")), "2199023255551"},
		{"no CapEff", outcome(parseCapEff("Name:\tntrace\n")), "error"},
		{"CapEff in a process name is not at a line's start", outcome(parseCapEff("Name:\tCapEff: 1\n")), "error"},

		{"tracefs in its own place", outcome(findTracefs(strings.NewReader(mountinfo))), `"/sys/kernel/tracing"`},
		{"tracefs only under debugfs", outcome(findTracefs(strings.NewReader(strings.Join(strings.SplitAfter(mountinfo, "\n")[:3], "")))), `"/sys/kernel/debug/tracing"`},
		{"tracefs not mounted", outcome(findTracefs(strings.NewReader(strings.Join(strings.SplitAfter(mountinfo, "\n")[:2], "")))), "error"},
		{"a space in the path", outcome(findTracefs(strings.NewReader(`26 25 0:12 / /mnt/my\040trace rw - tracefs t rw`))), `"/mnt/my trace"`},
		{"a bind mount of one instance is not tracefs", outcome(findTracefs(strings.NewReader(`26 25 0:12 /instances/a /x rw - tracefs t rw`))), "error"},

		{"Debian RT kernel", outcome(isPreemptRTVersion("#1 SMP PREEMPT_RT Debian 6.1.170-1"), nil), "true"},
		{"old spelling", outcome(isPreemptRTVersion("#1 SMP PREEMPT RT Debian 4.19.1"), nil), "true"},
		{"PREEMPT_DYNAMIC is not RT", outcome(isPreemptRTVersion("#1 SMP PREEMPT_DYNAMIC Debian 6.1.170-1"), nil), "false"},

		{"addresses shown after a zero per-CPU symbol", outcome(symbolAccess(strings.NewReader("0000000000000000 A fixed_percpu_data\nffffffff81000000 T _text\n"))), `"readable"`},
		{"all addresses zero", outcome(symbolAccess(strings.NewReader("0000000000000000 T _text\n0000000000000000 t f\n"))), `"hidden"`},
		{"empty kallsyms", outcome(symbolAccess(strings.NewReader(""))), "error"},

		{"5.13 from 6.1", outcome(atLeast("6.1.0-42-amd64", 5, 13)), "true"},
		{"5.13 from 5.13", outcome(atLeast("5.13.0", 5, 13)), "true"},
		{"5.13 from 5.10", outcome(atLeast("5.10.0-33-cloud-amd64", 5, 13)), "false"},
		{"release candidate", outcome(atLeast("7.3-rc1", 5, 13)), "true"},
		{"no release", outcome(atLeast("linux", 5, 13)), "error"},
		{"numbers elsewhere", outcome(atLeast("x5.13", 5, 13)), "error"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %s, want %s", tc.what, tc.got, tc.want)
		}
	}
}

func TestCapabilitiesOfMask(t *testing.T) {
	for _, tc := range []struct {
		what          string
		mask          uint64
		held, lacking []string
	}{
		{
			"nothing", 0,
			[]string{},
			wantedCapabilities(),
		},
		{
			"BPF and PERFMON", 1<<39 | 1<<38,
			[]string{"CAP_PERFMON", "CAP_BPF"},
			[]string{"CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYSLOG", "CAP_SYS_PTRACE", "CAP_SYS_RESOURCE", "CAP_SYS_RAWIO"},
		},
		{"a capability of the future", 1 << 63, []string{"CAP_63"}, wantedCapabilities()},
	} {
		c := capabilitiesOf(tc.mask)
		if diff := cmp.Diff(Capabilities{Held: tc.held, Lacking: tc.lacking}, c); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.what, diff)
		}
	}
	if full := capabilitiesOf(1<<41 - 1); len(full.Held) != 41 || len(full.Lacking) != 0 || full.Held[40] != "CAP_CHECKPOINT_RESTORE" {
		t.Errorf("root holds %v and lacks %v", full.Held, full.Lacking)
	}
}

func TestRefcountBase(t *testing.T) {
	symbols := func(data ...string) *Symbols {
		text := "ffffffff81000000 T _text\n"
		for _, name := range data {
			text += "ffffffff82000000 d " + name + "\n"
		}
		return mustRead(t, text)
	}
	since513 := symbols("init_net", "netdev_unregister_timeout_secs")
	before513 := symbols("init_net")
	noData := symbols()
	for _, tc := range []struct {
		what    string
		release Fact[string]
		symbols *Symbols
		want    RefcountBase
		unknown bool
	}{
		{"Debian 5.10", Fact[string]{Value: "5.10.0-33-amd64"}, before513, RefcountBase{0, true}, false},
		{"Debian 6.1", Fact[string]{Value: "6.1.0-42-amd64"}, since513, RefcountBase{1, true}, false},
		{"vendor 5.10 with the sysctl backported", Fact[string]{Value: "5.10.1-vendor"}, since513, RefcountBase{1, false}, false},
		{"6.1 whose data symbols lack the variable", Fact[string]{Value: "6.1.0"}, before513, RefcountBase{0, false}, false},
		{"6.1 without CONFIG_KALLSYMS_ALL is not taken for 5.10", Fact[string]{Value: "6.1.0"}, noData, RefcountBase{1, false}, false},
		{"symbols hidden", Fact[string]{Value: "5.10.0"}, nil, RefcountBase{0, false}, false},
		{"nothing known", Fact[string]{Err: errors.New("no uname")}, nil, RefcountBase{}, true},
		{"symbol without a release", Fact[string]{Err: errors.New("no uname")}, since513, RefcountBase{1, false}, false},
	} {
		got := Facts{Release: tc.release}.RefcountBase(tc.symbols, nil)
		if (got.Err != nil) != tc.unknown || got.Value != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.what, got, tc.want)
		}
		if got.Source == "" {
			t.Errorf("%s: does not say how it was learnt", tc.what)
		}
	}
}

func TestFactJSONKeepsValueOrError(t *testing.T) {
	for _, tc := range []struct {
		fact Fact[int]
		want string
		text string
	}{
		{Fact[int]{Value: 0, Source: "a"}, `{"value":0,"source":"a"}`, "0"},
		{Fact[int]{Value: 7, Source: "a", Err: errors.New("refused")}, `{"value":null,"source":"a","error":"refused"}`, "unknown: refused"},
	} {
		b, err := json.Marshal(tc.fact)
		if err != nil || string(b) != tc.want {
			t.Errorf("marshalled to %s, %v; want %s", b, err, tc.want)
		}
		var back Fact[int]
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if back.Text() != tc.text || tc.fact.Text() != tc.text {
			t.Errorf("text %q, after a round trip %q, want %q", tc.fact.Text(), back.Text(), tc.text)
		}
	}
	var f Fact[int]
	if err := json.Unmarshal([]byte(`{}`), &f); err != nil || f.Err == nil {
		t.Errorf("a fact with neither value nor error is taken for 0: %+v, %v", f, err)
	}
}

func TestInspectThisKernel(t *testing.T) {
	facts := Inspect(context.Background())
	if facts.Release.Err != nil || facts.Release.Value == "" {
		t.Errorf("release: %+v", facts.Release)
	}
	if facts.NetnsSelf.Err != nil || facts.NetnsSelf.Value == 0 {
		t.Errorf("own network namespace: %+v", facts.NetnsSelf)
	}
	b, err := json.Marshal(facts)
	if err != nil {
		t.Fatal(err)
	}
	var byKey map[string]struct{ Source string }
	if err := json.Unmarshal(b, &byKey); err != nil {
		t.Fatal(err)
	}
	text := facts.String()
	v := reflect.TypeFor[Facts]()
	for i := range v.NumField() {
		key := v.Field(i).Tag.Get("json")
		if !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(key) {
			t.Errorf("field %s has the JSON key %q", v.Field(i).Name, key)
		}
		if byKey[key].Source == "" {
			t.Errorf("%s does not say how it was learnt", key)
		}
		if !strings.Contains(text, key+" ") {
			t.Errorf("%s is not in the text", key)
		}
	}
	t.Logf("\n%s", text)
}

func TestInspectEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if f := Inspect(ctx); !errors.Is(f.Kcore.Err, context.Canceled) || !errors.Is(f.RingBuffer.Err, context.Canceled) {
		t.Errorf("after cancellation: %v, %v", f.Kcore.Err, f.RingBuffer.Err)
	}
}

func FuzzParsers(f *testing.F) {
	f.Add("0-3,8")
	f.Add("26 25 0:12 / /mnt/my\\040trace rw - tracefs t rw")
	f.Add("CapEff:\t000001ffffffffff")
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := parseCPUList(text); err == nil && (n < 1 || n > maxCPUs) {
			t.Fatalf("%q has %d CPUs", text, n)
		}
		if path, err := findTracefs(strings.NewReader(text)); err == nil && path == "" {
			t.Fatalf("%q: empty path", text)
		}
		if l, err := parseLockdown(text); err == nil && l == "" {
			t.Fatalf("%q: empty level", text)
		}
		if mask, err := parseCapEff(text); err == nil {
			capabilitiesOf(mask)
		}
		if _, err := parseNamespaceLink(text); err == nil && !strings.Contains(text, ":[") {
			t.Fatalf("%q taken for a namespace", text)
		}
		if _, err := atLeast(text, 5, 13); err == nil && text == "" {
			t.Fatal("an empty release has a version")
		}
		isPreemptRTVersion(text)
		if _, err := symbolAccess(strings.NewReader(text)); err == nil && text == "" {
			t.Fatal("an empty table is readable")
		}
	})
}
