// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bufio"
	"compress/gzip"
	"io"
	"os"
	"strings"
)

// configMax is far above the size of any kernel's configuration.
const configMax = 4 << 20

// ReadConfig returns the values of options of the running kernel's configuration
// (CONFIG_NET_NS: "y"), without those that are not set. It is where the distribution
// or the kernel itself keeps it, and often nowhere: then it is empty.
func ReadConfig(options ...string) map[string]string {
	if f, err := os.Open("/proc/config.gz"); err == nil {
		defer f.Close()
		if z, err := gzip.NewReader(f); err == nil {
			return parseConfig(z, options)
		}
	}
	name, err := unameField(release)()
	if err != nil {
		return nil
	}
	for _, path := range []string{"/boot/config-" + name, "/lib/modules/" + name + "/config"} {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		defer f.Close()
		return parseConfig(f, options)
	}
	return nil
}

func parseConfig(in io.Reader, options []string) map[string]string {
	wanted := make(map[string]bool, len(options))
	for _, o := range options {
		wanted[o] = true
	}
	out := make(map[string]string)
	for lines := bufio.NewScanner(io.LimitReader(in, configMax)); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), "="); ok && wanted[key] {
			out[key] = strings.Trim(value, `"`)
		}
	}
	return out
}
