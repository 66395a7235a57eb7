// SPDX-License-Identifier: Apache-2.0

package refsite

import "testing"

func TestFamilyOfFunction(t *testing.T) {
	families, err := LoadFamilies()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		what, symbol, module, want string
		known                      bool
	}{
		{"exact name", "neigh_destroy", "", "neighbour", true},
		{"pattern", "netdev_get_by_index", "", "lookup", true},
		{"what the compiler added does not count", "__neigh_ifdown.isra.0", "", "proxy_neigh", true},
		{"cold part", "sel_netif_sid.cold", "", "transient lookup user", true},
		{"any function of a module", "llc_ui_bind", "llc2", "AF_LLC socket", true},
		{"module named as its file", "bcm_can_tx", "can-bcm", "CAN socket", true},
		{"an earlier line of the same module", "macvlan_init", "macvlan", "macvlan lower", true},
		{"the kernel's functions are not a module's", "dst_init", "my_module", "module my_module", false},
		{"unknown function keeps its name", "frobnicate.part.0", "", "frobnicate", false},
	} {
		got, known := families.Of(tc.symbol, tc.module)
		if got != tc.want || known != tc.known {
			t.Errorf("%s: %s of %q is %q, %v, want %q, %v", tc.what, tc.symbol, tc.module, got, known, tc.want, tc.known)
		}
	}
}

func TestEachLineOfTheTableCanMatch(t *testing.T) {
	families, err := LoadFamilies()
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range families.rules {
		for _, earlier := range families.rules[:i] {
			if matches(earlier.module, r.module) && matches(earlier.function, r.function) {
				t.Errorf("%s:%s is hidden by the line of %s:%s", r.module, r.function, earlier.module, earlier.function)
			}
		}
	}
}

func TestBrokenTableIsRefused(t *testing.T) {
	for _, text := range []string{"dst_alloc dst", "dst_[ 6.1 dst", "[: 6.1 dst"} {
		if _, err := parseFamilies(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
