// SPDX-License-Identifier: Apache-2.0

package textprobe

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrModuleGone says that the module of a target is not loaded.
var ErrModuleGone = errors.New("the module is not loaded any more")

// inModules tells the targets whose modules are loaded from the others.
func inModules(targets []Target) (there []Target, gone []Refusal) {
	loaded := make(map[string]bool)
	for _, t := range targets {
		is, asked := loaded[t.Module]
		if !asked {
			is = t.Module == "" || moduleLoaded(t.Module)
			loaded[t.Module] = is
		}
		if is {
			there = append(there, t)
		} else {
			gone = append(gone, Refusal{Target: t, Reason: ErrModuleGone})
		}
	}
	return there, gone
}

// moduleLoaded reports whether a module is there, and not on its way out: the kernel
// refuses probes in it from then on.
func moduleLoaded(name string) bool {
	state, err := os.ReadFile(filepath.Join("/sys/module", name, "initstate"))
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist) // else it cannot be told: the kernel is asked
	}
	return strings.TrimSpace(string(state)) != "going"
}
