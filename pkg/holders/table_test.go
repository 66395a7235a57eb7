// SPDX-License-Identifier: Apache-2.0

package holders

import (
	"strings"
	"testing"
)

func TestTheTableOfReferencesIsSound(t *testing.T) {
	table, err := newTable(referencesText)
	if err != nil {
		t.Fatal(err)
	}
	if len(table.rules) < 80 || len(table.structs) < 10 || len(table.selves) < 3 {
		t.Errorf("%d rules, %d types of places, %d references of the device itself: the table was longer",
			len(table.rules), len(table.structs), len(table.selves))
	}
	// A rule behind one for the same place without a condition is never reached.
	for place, rules := range table.places {
		for _, i := range rules[:len(rules)-1] {
			if r := table.rules[i]; r.nonzero == "" && r.zero == "" && r.listed == "" && r.has == "" && r.kinds == nil {
				t.Errorf("%s: a rule behind one without a condition", place)
			}
		}
	}
	for place, name := range table.structs {
		if !strings.Contains(place, ":") || strings.Contains(name, ".") {
			t.Errorf("type %s %s: not a place and a struct", place, name)
		}
	}
}

func TestLinesOfTheTable(t *testing.T) {
	table, err := newTable(`
# a comment
counted  netdev_queue.dev  tx_queue  if kobj.ktype anywhere  # and another
plain    netdev_queue.dev  tx_queue  anywhere
counted  ip_tunnel.dev     tunnel    kind sit,ip6tnl
self     state/__LINK_STATE_LINKWATCH_PENDING  linkwatch
type     private:veth      veth_priv
counted  netdev_adjacent.dev  adjacent_device  listed list
`)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(table.places["netdev_queue.dev"]); n != 2 {
		t.Errorf("%d rules for netdev_queue.dev", n)
	}
	if r := table.rules[0]; !r.counted || r.family != "tx_queue" || r.nonzero != "kobj.ktype" || !r.isAnywhere {
		t.Errorf("first rule %+v", r)
	}
	if r := table.rules[2]; len(r.kinds) != 2 || r.kinds[1] != "ip6tnl" {
		t.Errorf("third rule %+v", r)
	}
	if !table.placed["veth_priv"] || table.placed["ip_tunnel"] {
		t.Errorf("placed %v: what is private to a driver is not guessed", table.placed)
	}
	if r := table.rules[3]; r.listed != "list" {
		t.Errorf("fourth rule %+v", r)
	}
	if !table.anywhere["netdev_queue"] || table.anywhere["ip_tunnel"] {
		t.Errorf("anywhere %v", table.anywhere)
	}
	if s := table.selves[0]; s != (selfRule{"state", "__LINK_STATE_LINKWATCH_PENDING", "linkwatch"}) {
		t.Errorf("self %+v", s)
	}
	if table.structs["private:veth"] != "veth_priv" {
		t.Errorf("types %v", table.structs)
	}
	for _, bad := range []string{"maybe in_device.dev x", "counted in_device.dev", "counted a.b c if", "counted a.b c when d"} {
		if _, err := newTable(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
