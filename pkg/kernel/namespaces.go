// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

const (
	pidNamespacePath  = "/proc/self/ns/pid"
	timeNamespacePath = "/proc/self/ns/time"
	netnsSelfPath     = "/proc/self/ns/net"
	netnsInitPath     = "/proc/1/ns/net"
)

// initPIDNamespace is PROC_PID_INIT_INO, the fixed inode of the first PID
// namespace.
const initPIDNamespace = 0xEFFFFFFC

// initTimeNamespace is PROC_TIME_INIT_INO.
const initTimeNamespace = 0xEFFFFFFA

// readInitPIDNamespace reports whether this process is in the first PID
// namespace: only there are the PIDs of /proc those that kernel events carry.
func readInitPIDNamespace() (bool, error) {
	inode, err := readNamespace(pidNamespacePath)
	return inode == initPIDNamespace, err
}

// readNamespace returns the inode of a namespace link. It reads the link and
// does not open it: an open file would keep the namespace alive.
func readNamespace(path string) (uint64, error) {
	link, err := os.Readlink(path)
	if err != nil {
		return 0, err
	}
	return parseNamespaceLink(link)
}

// parseNamespaceLink takes "net:[4026531840]".
func parseNamespaceLink(link string) (uint64, error) {
	_, rest, ok := strings.Cut(link, ":[")
	digits, closed := strings.CutSuffix(rest, "]")
	inode, err := strconv.ParseUint(digits, 10, 64)
	if !ok || !closed || err != nil {
		return 0, fmt.Errorf("namespace link not understood: %q", link)
	}
	return inode, nil
}
