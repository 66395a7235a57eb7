// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName bounds a name kept in memory. File names, and therefore cgroup
// names and most runtimes' names, are at most 255 bytes.
const maxName = 255

// cleanName returns its own copy of s if it can stand as a name, else "".
// Names end up on terminals and in mail: whoever may create a cgroup must not
// be able to send escape sequences there. The copy keeps a name from holding
// the whole file it was found in.
func cleanName(s string) string {
	if len(s) > maxName || !utf8.ValidString(s) {
		return ""
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return ""
		}
	}
	return strings.Clone(s)
}

// isContainerID says whether s is what every OCI runtime manager uses for an
// ID: 64 lower-case hexadecimal digits. Such a string is also safe in a path.
func isContainerID(s string) bool {
	return len(s) == 64 && isHex(s)
}

// isUUID says whether s is a UUID in lower case, 8-4-4-4-12.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch i {
		case 8, 13, 18, 23:
			if s[i] != '-' {
				return false
			}
		default:
			if !isHex(s[i : i+1]) {
				return false
			}
		}
	}
	return true
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// shortID is how people and runtimes abbreviate a container ID.
func shortID(id string) string {
	if isContainerID(id) {
		return id[:12]
	}
	return id
}
