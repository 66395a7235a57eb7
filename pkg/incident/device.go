// SPDX-License-Identifier: Apache-2.0

package incident

import (
	"slices"
	"strings"
)

// kindOther is a device whose name tells nothing.
const kindOther = "other"

// kindByPrefix are kinds of devices by how the kernel, or those who make many,
// name them. The longest prefix of a name counts.
func kindByPrefix() map[string]string {
	return map[string]string{
		"lo": "loopback", "veth": "veth", "cali": "veth", "lxc": "veth", "vnet": "tun", "tun": "tun", "tap": "tun",
		"br": "bridge", "docker": "bridge", "virbr": "bridge", "cni": "bridge", "lxdbr": "bridge",
		"dummy": "dummy", "ifb": "ifb", "bond": "bond", "team": "team", "vlan": "vlan", "macvlan": "macvlan",
		"macvtap": "macvlan", "ipvlan": "ipvlan", "ipvl": "ipvlan", "vxlan": "vxlan", "flannel": "vxlan", "geneve": "geneve",
		"gre": "gre", "gretap": "gre", "erspan": "gre", "ip6gre": "gre", "tunl": "ipip", "ip6tnl": "ipip", "sit": "sit",
		"ip_vti": "vti", "ip6_vti": "vti", "wg": "wireguard", "vrf": "vrf", "nlmon": "nlmon", "xfrm": "xfrm", "ppp": "ppp",
		"eth": "ethernet", "en": "ethernet", "wl": "wireless", "ib": "infiniband", "can": "can", "vcan": "can",
	}
}

// DeviceKinds are all that DeviceKind gives, sorted.
func DeviceKinds() []string {
	kinds := []string{kindOther}
	for _, kind := range kindByPrefix() {
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	return kinds
}

// DeviceKind is what kind of device has such a name, as a guess: records have no
// kind of a device, and names can be chosen freely. It is one of DeviceKinds.
func DeviceKind(name string) string {
	if base, _, ok := strings.Cut(name, "."); ok && base != "" {
		return "vlan" // eth0.100
	}
	kinds := kindByPrefix()
	for n := len(name); n > 0; n-- {
		if kind, ok := kinds[name[:n]]; ok {
			return kind
		}
	}
	return kindOther
}
