// SPDX-License-Identifier: Apache-2.0

// Package modules knows which kernel module needs which: it reads the modinfo of
// module files, writes the tables that depmod would write, and resolves names and
// aliases with them. The host builds the tables, the guest uses them.
package modules

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"strings"
)

// maxModinfo bounds the .modinfo section, in bytes, far above what modules have.
const maxModinfo = 4 << 20

// Info is what a module file says of itself.
type Info struct {
	// Name has underscores, never dashes, as in /proc/modules. Empty in modules
	// that do not state it.
	Name string
	// Depends names the modules that must be loaded before.
	Depends []string
	// Aliases are the names under which the kernel may ask for it, such as
	// rtnl-link-veth. They may hold the wildcards * and ?.
	Aliases []string
}

// ReadInfo reads the .modinfo section of an uncompressed module file.
func ReadInfo(r io.ReaderAt) (Info, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return Info{}, fmt.Errorf("reading a module: %w", err)
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return Info{}, fmt.Errorf("reading a module: no .modinfo section")
	}
	if section.Size > maxModinfo {
		return Info{}, fmt.Errorf("reading a module: .modinfo has %d bytes", section.Size)
	}
	data, err := section.Data()
	if err != nil {
		return Info{}, fmt.Errorf("reading a module's .modinfo: %w", err)
	}
	return parseInfo(data), nil
}

// parseInfo reads NUL-terminated key=value strings. Runs of NUL are padding.
func parseInfo(data []byte) Info {
	var info Info
	for field := range bytes.SplitSeq(data, []byte{0}) {
		key, value, ok := strings.Cut(string(field), "=")
		if !ok || value == "" {
			continue
		}
		switch key {
		case "name":
			info.Name = Normalize(value)
		case "alias":
			info.Aliases = append(info.Aliases, value)
		case "depends":
			for name := range strings.SplitSeq(value, ",") {
				if name != "" {
					info.Depends = append(info.Depends, Normalize(name))
				}
			}
		}
	}
	return info
}

// Normalize spells a module's name as the kernel does: with underscores.
func Normalize(name string) string { return strings.ReplaceAll(name, "-", "_") }
