// SPDX-License-Identifier: Apache-2.0

package modules

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseInfo(t *testing.T) {
	section := "alias=rtnl-link-bridge\x00license=GPL\x00\x00\x00depends=stp,llc\x00" +
		"name=bridge\x00parm=x:y=z\x00alias=nf-logger-7-0\x00depends=\x00vermagic"
	want := Info{Name: "bridge", Depends: []string{"stp", "llc"}, Aliases: []string{"rtnl-link-bridge", "nf-logger-7-0"}}
	if got := parseInfo([]byte(section)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	dashed := parseInfo([]byte("name=can-j1939\x00depends=can-dev"))
	if dashed.Name != "can_j1939" || dashed.Depends[0] != "can_dev" {
		t.Errorf("dashes must become underscores, got %+v", dashed)
	}
}

func TestReadInfoRefusesWhatIsNoModule(t *testing.T) {
	if _, err := ReadInfo(strings.NewReader("not an ELF file at all")); err == nil {
		t.Error("a text file was taken for a module")
	}
}

func table() *Table {
	return &Table{
		modules: map[string]module{
			"llc":          {file: "kernel/net/llc/llc.ko"},
			"stp":          {file: "kernel/net/802/stp.ko", depends: []string{"llc"}},
			"bridge":       {file: "kernel/net/bridge/bridge.ko", depends: []string{"stp", "llc"}},
			"br_netfilter": {file: "kernel/net/bridge/br_netfilter.ko", depends: []string{"bridge"}},
			"broken":       {file: "kernel/broken.ko", depends: []string{"absent"}},
			"cbc":          {file: "kernel/crypto/cbc.ko", depends: []string{"ext4"}},
		},
		aliases: []alias{
			{"rtnl-link-bridge", "bridge"},
			{"virtio:d00000001v*", "llc"},
			{"crypto-cbc", "cbc"},
			{"crypto-cbc", "llc"},
		},
		builtin: map[string]bool{"ext4": true},
	}
}

func TestResolve(t *testing.T) {
	const llc, stp, bridge = "kernel/net/llc/llc.ko", "kernel/net/802/stp.ko", "kernel/net/bridge/bridge.ko"
	tests := []struct {
		name string
		ask  string
		want []string
	}{
		{"dependencies come first and once", "bridge", []string{llc, stp, bridge}},
		{"an alias is its module", "rtnl-link-bridge", []string{llc, stp, bridge}},
		{"dashes and underscores are the same in names", "br-netfilter", []string{llc, stp, bridge, "kernel/net/bridge/br_netfilter.ko"}},
		{"dashes and underscores are the same in aliases", "rtnl_link_bridge", []string{llc, stp, bridge}},
		{"wildcards match", "virtio:d00000001v00001AF4", []string{llc}},
		{"built in means nothing to load", "ext4", nil},
		{"a built-in dependency is skipped, every fitting module is taken", "crypto-cbc", []string{"kernel/crypto/cbc.ko", llc}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := table().Resolve(tt.ask)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("Resolve(%q) = %q, want %q", tt.ask, got, tt.want)
			}
		})
	}
	for _, ask := range []string{"nonsense", "broken", "virtio:d00000002v1", ""} {
		if files, err := table().Resolve(ask); !errors.Is(err, ErrUnknown) {
			t.Errorf("Resolve(%q) = %q, %v; want ErrUnknown", ask, files, err)
		}
	}
}

func TestResolveEndsOnACycle(t *testing.T) {
	looped := &Table{modules: map[string]module{
		"a": {file: "a.ko", depends: []string{"b"}},
		"b": {file: "b.ko", depends: []string{"a"}},
	}}
	files, err := looped.Resolve("a")
	if err != nil || !slices.Equal(files, []string{"b.ko", "a.ko"}) {
		t.Errorf("got %q, %v", files, err)
	}
}

func TestKeepTakesDependenciesAndDropsTheRest(t *testing.T) {
	tab := table()
	dropped := tab.Keep(func(name, file string) bool { return name == "bridge" })
	if want := []string{"bridge", "llc", "stp"}; !slices.Equal(tab.Names(), want) {
		t.Errorf("kept %q, want %q", tab.Names(), want)
	}
	want := []string{"kernel/broken.ko", "kernel/crypto/cbc.ko", "kernel/net/bridge/br_netfilter.ko"}
	if !slices.Equal(dropped, want) {
		t.Errorf("dropped %q, want %q", dropped, want)
	}
	if _, err := tab.Resolve("br_netfilter"); !errors.Is(err, ErrUnknown) {
		t.Error("a dropped module still resolves")
	}
	if files, err := tab.Resolve("crypto-cbc"); err != nil || len(files) != 1 {
		t.Errorf("the alias of a dropped module must go, got %q, %v", files, err)
	}
}

func TestWrittenTableReadsBackTheSame(t *testing.T) {
	dir := t.TempDir()
	want := table()
	delete(want.modules, "broken") // a missing dependency cannot be written
	want.sortAliases()
	cbc := want.modules["cbc"]
	cbc.depends = nil // nor can a built-in one, which needs no loading
	want.modules["cbc"] = cbc
	if err := want.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := Read(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func FuzzReadInfo(f *testing.F) {
	f.Add([]byte("\x7fELF"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := ReadInfo(bytes.NewReader(data))
		if err != nil && (info.Name != "" || info.Depends != nil) {
			t.Errorf("an error and a result: %+v, %v", info, err)
		}
		for _, dep := range parseInfo(data).Depends {
			if dep == "" || strings.ContainsAny(dep, "-,\x00") {
				t.Errorf("dependency %q", dep)
			}
		}
	})
}

func FuzzMatches(f *testing.F) {
	f.Add("virtio:d*v?", "virtio:d1v2")
	f.Add("**a*", "ba")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if !strings.ContainsAny(pattern, "*?") && matches(pattern, text) != (pattern == text) {
			t.Errorf("matches(%q, %q) = %v", pattern, text, matches(pattern, text))
		}
		if !matches("*", text) || !matches(strings.Repeat("?", len(text)), text) {
			t.Errorf("wildcards do not match %q", text)
		}
	})
}
