// SPDX-License-Identifier: Apache-2.0

package refs

import (
	"strconv"
	"strings"
)

// parseMessage reads the kernel's line about a device that waits, with or without
// a time stamp before it. Source: netdev_wait_allrefs_any(). The name may hold
// anything but white space and '/', the count may be negative.
func parseMessage(text string) (name string, usage int32, ok bool) {
	const lead, middle = "unregister_netdevice: waiting for ", " to become free. Usage count = "
	_, text, ok = strings.Cut(text, lead)
	if !ok {
		return "", 0, false
	}
	name, count, ok := strings.Cut(text, middle)
	if !ok || name == "" || strings.ContainsAny(name, " \t\n/") {
		return "", 0, false
	}
	if end := strings.IndexFunc(count, func(r rune) bool { return r != '-' && (r < '0' || r > '9') }); end >= 0 {
		count = count[:end]
	}
	n, err := strconv.ParseInt(count, 10, 32)
	if err != nil {
		return "", 0, false
	}
	return name, int32(n), true
}
