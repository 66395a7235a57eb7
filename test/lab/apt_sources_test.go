// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// A container image and an installed machine write their sources in different forms,
// with third-party archives among them.
func TestHostSources(t *testing.T) {
	files := fstest.MapFS{
		"sources.list": {Data: []byte(`# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg check-valid-until=no] http://snap.example/debian/20250520T000000Z bookworm main # why
deb-src http://mirror.example/debian bookworm main
deb	http://mirror.example/debian	bookworm main contrib
deb http://half.example/debian
deb [unclosed http://x.example bookworm main
debian http://y.example bookworm main
`)},
		"sources.list.d/tool.list": {Data: []byte("deb https://tools.example/apt tools-bookworm main\n")},
		"sources.list.d/debian.sources": {Data: []byte(`Types: deb deb-src
# a snapshot would be http://snap.example/debian/20250520T000000Z
URIs: http://a.example/debian http://b.example/debian
Suites: trixie trixie-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

Types: deb
URIs: http://a.example/security
Suites: trixie-security
enabled: no

types: deb
uris: http://c.example/security
suites: trixie-security
Trusted: yes
`)},
		"sources.list.d/ignored.save": {Data: []byte("deb http://old.example/debian bookworm main\n")},
	}
	got, err := hostSources(files)
	if err != nil {
		t.Fatal(err)
	}
	key := map[string]string{"Signed-By": "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc"}
	want := []aptSource{
		{"http://snap.example/debian/20250520T000000Z", "bookworm", map[string]string{"Signed-By": "/k.gpg", "Check-Valid-Until": "no"}},
		{"http://mirror.example/debian", "bookworm", map[string]string{}},
		{"http://a.example/debian", "trixie", key},
		{"http://a.example/debian", "trixie-updates", key},
		{"http://b.example/debian", "trixie", key},
		{"http://b.example/debian", "trixie-updates", key},
		{"http://c.example/security", "trixie-security", map[string]string{"Trusted": "yes"}},
		{"https://tools.example/apt", "tools-bookworm", map[string]string{}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
}

func TestArchivesFor(t *testing.T) {
	sources := []aptSource{
		{URI: "http://snap.example/debian/20250520T000000Z", Suite: "bookworm"},
		{URI: "http://mirror.example/debian", Suite: "bookworm"},
		{URI: "http://mirror.example/debian", Suite: "bookworm-updates"},
		{URI: "http://mirror.example/security", Suite: "bookworm-security"},
		{URI: "http://node.example", Suite: "nodistro"},
		{URI: "http://tools.example", Suite: "tools-bookworm"},
	}
	tests := []struct {
		name, suite string
		want        []string
	}{
		{
			"another release is looked for in the same archives, the frozen one last", "trixie-backports",
			[]string{"http://mirror.example/debian", "http://snap.example/debian/20250520T000000Z"},
		},
		{"security suites live elsewhere", "bullseye-security", []string{"http://mirror.example/security"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, a := range archivesFor(sources, tt.suite) {
				got = append(got, a.URI)
				if a.Suite != tt.suite {
					t.Errorf("%s is asked for %s", a.URI, a.Suite)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("archives (-want +got):\n%s", diff)
			}
		})
	}
	if got := archivesFor(sources[4:], "trixie"); got != nil {
		t.Errorf("third-party archives were taken for Debian's: %v", got)
	}
}

func TestStanzaReadsBack(t *testing.T) {
	want := aptSource{
		URI: "http://a.example/debian", Suite: "trixie",
		Options: map[string]string{"Signed-By": "\n -----BEGIN-----\n .\n abc", "Check-Valid-Until": "no"},
	}
	if diff := cmp.Diff([]aptSource{want}, parseDeb822(want.stanza())); diff != "" {
		t.Errorf("written and read back (-want +got):\n%s", diff)
	}
}

func TestPackageRecord(t *testing.T) {
	version, depends := parsePackageRecord(`Package: linux-image-7.3.4+deb13-cloud-amd64
Version: 7.3.4-1~bpo13+1
Depends: linux-binary-7.3.4 (= 7.3.4-1~bpo13+1), kmod, linux-initramfs-tool | initramfs-tools (>= 0.120), python3:any
Pre-Depends: base
Description: Depends: is only a word here

Package: linux-image-7.3.4+deb13-cloud-amd64
Version: 7.3.1-1
`)
	if version != "7.3.4-1~bpo13+1" {
		t.Errorf("version %q", version)
	}
	want := []string{"base", "kmod", "linux-binary-7.3.4", "linux-initramfs-tool", "python3"}
	if diff := cmp.Diff(want, depends); diff != "" {
		t.Errorf("depends (-want +got):\n%s", diff)
	}
}

func TestPlannedFiles(t *testing.T) {
	got := plannedFiles(`NOTE: This is only a simulation!
Inst gcc-12-base (12.2.0-14+deb12u1 Debian:12.11/oldstable [amd64])
Inst zlib1g (1:1.2.13.dfsg-1 Debian:12.11/oldstable [amd64]) []
Inst debconf (1.5.82 Debian:12.11/oldstable, Debian:13/stable [all])
Conf gcc-12-base (12.2.0-14+deb12u1 Debian:12.11/oldstable [amd64])
`)
	want := []string{"gcc-12-base_12.2.0-14+deb12u1_amd64.deb", "zlib1g_1%3a1.2.13.dfsg-1_amd64.deb", "debconf_1.5.82_all.deb"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func FuzzSources(f *testing.F) {
	f.Add("deb [signed-by=/k] http://a b c\n")
	f.Add("Types: deb\nURIs: http://a\nSuites: b\nSigned-By:\n x\n")
	f.Add(" \n\t\n:\n deb")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range append(parseOneLine(text), parseDeb822(text)...) {
			if s.URI == "" || s.Suite == "" {
				t.Errorf("a source without address or suite: %+v", s)
			}
		}
		plannedFiles(text)
		parsePackageRecord(text)
	})
}
