// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/netns-trace/netns-trace/pkg/holders"
	"github.com/netns-trace/netns-trace/pkg/identity"
)

// netnsNames are the names of network namespaces.
type netnsNames interface {
	// Host is the inode number of the machine's own namespace, 0 if it is not known.
	Host() uint32
	Netns(inode uint32, hintPIDs ...int) (identity.Netns, bool)
}

// pickDevice finds the device that an argument means: a name, an ifindex, or either
// after a namespace and a colon, which no name of a device has.
func pickDevice(arg string, devices []*holders.Device, names netnsNames) (*holders.Device, error) {
	netns, name, scoped := strings.Cut(arg, ":")
	if !scoped {
		netns, name = "", arg
	}
	var found []*holders.Device
	for _, d := range devices {
		if (d.Name == name || strconv.Itoa(int(d.Ifindex)) == name) && (!scoped || isNetns(netns, d.Netns.Inode, names)) {
			found = append(found, d)
		}
	}
	// A number is an ifindex, unless a device is called so.
	if exact := named(found, name); len(exact) > 0 {
		found = exact
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("no network device %q in memory", arg)
	case 1:
		return found[0], nil
	}
	var choices []string
	for _, d := range found {
		choices = append(choices, fmt.Sprintf("%s:%s", netnsWord(d.Netns.Inode, names), d.Name))
	}
	return nil, fmt.Errorf("%q is ambiguous: say which of %s", arg, strings.Join(choices, ", "))
}

func named(devices []*holders.Device, name string) []*holders.Device {
	var list []*holders.Device
	for _, d := range devices {
		if d.Name == name {
			list = append(list, d)
		}
	}
	return list
}

func isNetns(word string, inode uint32, names netnsNames) bool {
	if word == strconv.FormatUint(uint64(inode), 10) {
		return true
	}
	if inode == names.Host() {
		return word == identity.FromHost
	}
	known, ok := names.Netns(inode)
	return ok && (word == known.Name || word == known.Container.Name || known.Container.ID != "" && strings.HasPrefix(known.Container.ID, word))
}

func netnsWord(inode uint32, names netnsNames) string {
	if inode == names.Host() {
		return identity.FromHost
	}
	if known, ok := names.Netns(inode); ok && known.Name != "" {
		return known.Name
	}
	return strconv.FormatUint(uint64(inode), 10)
}
