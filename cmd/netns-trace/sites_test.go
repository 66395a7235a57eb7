// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/netns-trace/netns-trace/pkg/refsite"
)

func TestSitesAreListedByFamily(t *testing.T) {
	families, err := refsite.LoadFamilies()
	if err != nil {
		t.Fatal(err)
	}
	hot, err := refsite.LoadHot()
	if err != nil {
		t.Fatal(err)
	}
	l := siteList{Sites: describeSites([]refsite.Site{
		{Addr: 0x1000, Symbol: "frobnicate", Offset: 4, Op: refsite.Put, Rule: refsite.Loaded},
		{Addr: 0x2000, Symbol: "neigh_destroy", Offset: 0x10, Op: refsite.Put, Rule: refsite.Loaded, LoadAddr: 0x1ff9, Base: 3},
		{Addr: 0x3000, Symbol: "___neigh_create", Offset: 0x20, Op: refsite.Hold, Rule: refsite.Loaded},
		{
			Addr: 0x4000, Symbol: "llc_ui_release", Module: "llc2", Offset: 0x90, Op: refsite.Put, Rule: refsite.Loaded,
			Refused: refsite.LastInModule,
		},
		{Addr: 0x5000, Symbol: "tun_chr_poll", Module: "tun", Offset: 0x47, Op: refsite.Hold, Rule: refsite.Loaded},
	}, families, hot)}
	var out strings.Builder
	if err := l.write(&out); err != nil {
		t.Fatal(err)
	}
	const want = `5 reference sites: 2 hold, 3 put, 1 with the device at the load before; 1 refused, 1 not needed

neighbour: 2
  hold  ___neigh_create+0x20
  put   neigh_destroy+0x10, device in rbx at the load, +0x9

AF_LLC socket: 1
  put   llc_ui_release+0x90 [llc2]
        refused: in the last function of the module's text

frobnicate: 1 (not in the table of families)
  put   frobnicate+0x4

tun fd: 1
  hold  tun_chr_poll+0x47 [tun]
        not needed: hit for every packet: a packet written to or read from a tun device (--hot-sites)
`
	if out.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", &out, want)
	}
}
