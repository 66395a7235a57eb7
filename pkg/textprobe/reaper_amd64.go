// SPDX-License-Identifier: Apache-2.0

package textprobe

import _ "embed" // for the program

// reaperProgram is reaper/reaper.c, compiled.
//
//go:embed reaper_amd64.elf
var reaperProgram string
