// SPDX-License-Identifier: Apache-2.0

// Package recording reads and writes recordings: the records of one run, exactly in
// the order in which the detectors got them, so that a replay through the same
// detectors finds what the live run found. docs/recording-format.md is the
// specification; a change here that it does not describe is a mistake.
//
// A record that left the kernel's ring buffer is stored as its bytes. One that user
// space made (a name, a loss, a snapshot of a map) is stored by a table of its type's
// fields, which the file carries: see registry.go for how a type gets in.
package recording
